"""Advises on Kea's configuration: rules over one configuration or a pair's two, each with its reason, remedy and source."""
