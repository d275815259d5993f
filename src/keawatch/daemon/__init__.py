"""Acts: polls, decides by the core, journals, performs, and shows itself to the world."""
