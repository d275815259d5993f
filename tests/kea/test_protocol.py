"""Commands become bytes and bytes become replies, or a sentence."""

import json

import pytest

from keawatch.errors import (
    KeaAuthenticationError,
    KeaCommandError,
    KeaConnectionError,
    KeaForbiddenError,
    KeaProtocolError,
    KeaTimeoutError,
)
from keawatch.kea.protocol import (
    KeaDaemonDeadError,
    KeaOutcomeUnknownError,
    KeaSocketMissingError,
    Reply,
    check_status,
    checked,
    decode,
    encode,
    quote,
    unsupported,
)
from tests.kea import replies


class TestEncode:
    def test_a_bare_command(self) -> None:
        assert encode("status-get", None, None) == b'{"command":"status-get"}'

    def test_a_command_for_a_control_agent(self) -> None:
        message = json.loads(encode("ha-sync", {"server-name": "a", "max-period": 60}, "dhcp4"))
        assert message == {
            "command": "ha-sync",
            "service": ["dhcp4"],
            "arguments": {"server-name": "a", "max-period": 60},
        }


class TestDecode:
    @pytest.mark.parametrize("name", replies.ALL)
    def test_every_captured_reply_is_one(self, name: str) -> None:
        assert decode(replies.raw(name)).result == replies.whole(name)["result"]

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            pytest.param(b"", "the reply is empty", id="empty"),
            pytest.param(b" \n", "the reply is empty", id="blank"),
            pytest.param(b"<html>", 'not JSON, or is cut off: "<html>"', id="html"),
            pytest.param(b'{"result": 0, "te', "cut off", id="truncated"),
            pytest.param(b"[]", "a list of 0", id="empty list"),
            pytest.param(b'[{"result":0},{"result":0}]', "a list of 2", id="two services"),
            pytest.param(b"3", "not a map", id="number"),
            pytest.param(b"[[]]", "not a map", id="list of list"),
            pytest.param(b"{}", "no result code", id="no result"),
            pytest.param(b'{"result":true}', "no result code", id="true for a result"),
            pytest.param(b'{"result":0,"text":7}', "a text that is none", id="text"),
            pytest.param(b'{"result":NaN}', "not JSON", id="nan"),
            pytest.param(b"[" * 100_000, "not JSON", id="deep"),
            pytest.param(b"9" * 10_000, "not JSON", id="huge number"),
            pytest.param(b"\xff\xfe\x00", "not JSON", id="binary"),
        ],
    )
    def test_everything_else_is_a_sentence(self, body: bytes, sentence: str) -> None:
        with pytest.raises(KeaProtocolError, match="the reply") as error:
            decode(body)
        assert sentence in str(error.value)
        assert len(str(error.value)) < 160

    def test_a_truncated_configuration_shows_no_password(self) -> None:
        body = b'{"password": "made-up \\" one", "basic-auth-password":"made-up-two", "secret": "made-up-thr'
        with pytest.raises(KeaProtocolError) as error:
            decode(body)
        assert "made-up" not in str(error.value)
        assert "***" in str(error.value)

    def test_a_reply_does_not_show_its_arguments(self) -> None:
        assert "made-up" not in repr(decode(replies.raw("3.0-config-get-a")))

    def test_a_text_is_fit_for_a_log(self) -> None:
        assert decode(b'{"result":1,"text":"a\\u0000\\ud800b\\nc"}').text == "a??b\nc"


class TestQuote:
    def test_is_short_and_on_one_line(self) -> None:
        assert quote(b"a\n" * 200) == f'"{"a " * 40}…"'


class TestChecked:
    @pytest.mark.parametrize("result", [0, 3])
    def test_success_and_nothing_found_are_answers(self, result: int) -> None:
        reply = Reply(result)
        assert checked("lease4-get-page", reply) is reply

    @pytest.mark.parametrize("result", [1, 2, 4, 5, 1001, -1])
    def test_everything_else_is_kea_s_refusal(self, result: int) -> None:
        with pytest.raises(KeaCommandError) as error:
            checked("ha-sync", Reply(result, "it says so"))
        assert str(error.value) == f"ha-sync: it says so (result {result})"

    def test_kea_s_words_show_no_password(self) -> None:
        with pytest.raises(KeaCommandError) as error:
            checked("config-set", Reply(1, 'bad: {"password":"made-up"}'))
        assert "made-up" not in str(error.value)

    @pytest.mark.parametrize(("result", "kind"), [(401, KeaAuthenticationError), (403, KeaForbiddenError)])
    def test_results_of_http_errors(self, result: int, kind: type[Exception]) -> None:
        with pytest.raises(kind):
            checked("ha-sync", Reply(result, "Forbidden"))

    @pytest.mark.parametrize("version", replies.VERSIONS)
    def test_an_agent_with_a_killed_daemon_proves_it_dead(self, version: str) -> None:
        with pytest.raises(KeaDaemonDeadError, match="http://x/ answers and the server behind it is gone"):
            checked("status-get", decode(replies.raw(f"{version}-agent-dead-daemon")), "http://x/")

    @pytest.mark.parametrize("version", replies.VERSIONS)
    def test_an_agent_without_the_daemon_s_socket(self, version: str) -> None:
        with pytest.raises(KeaSocketMissingError):
            checked("status-get", decode(replies.raw(f"{version}-agent-stopped-daemon")))

    @pytest.mark.parametrize(
        ("reason", "kind"),
        [("Connection timed out", KeaTimeoutError), ("End of file", KeaOutcomeUnknownError)],
    )
    def test_an_agent_that_lost_a_busy_daemon_proves_nothing(self, reason: str, kind: type[Exception]) -> None:
        text = f"unable to forward command to the dhcp4 service: {reason}. The server is likely to be offline"
        with pytest.raises(kind) as error:
            checked("ha-sync", Reply(1, text))
        assert not isinstance(error.value, KeaDaemonDeadError)

    @pytest.mark.parametrize("version", replies.VERSIONS)
    def test_an_agent_without_the_service(self, version: str) -> None:
        with pytest.raises(KeaCommandError, match="forwarding socket is not configured"):
            checked("status-get", decode(replies.raw(f"{version}-agent-wrong-service-200")))


class TestUnsupported:
    @pytest.mark.parametrize("version", replies.VERSIONS)
    def test_a_command_nobody_knows(self, version: str) -> None:
        assert unsupported(decode(replies.raw(f"{version}-no-such-command-a")))

    def test_another_failure(self) -> None:
        assert not unsupported(Reply(1, "not supported"))
        assert not unsupported(Reply(2, "no"))


class TestCheckStatus:
    def test_200_says_nothing(self) -> None:
        check_status(200, b"")

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (301, KeaProtocolError),
            (400, KeaProtocolError),
            (401, KeaAuthenticationError),
            (403, KeaForbiddenError),
            (404, KeaProtocolError),
            (408, KeaConnectionError),
            (500, KeaConnectionError),
            (504, KeaOutcomeUnknownError),
        ],
    )
    def test_every_other_is_a_typed_error(self, status: int, kind: type[Exception]) -> None:
        with pytest.raises(kind, match=f"HTTP {status}"):
            check_status(status, b"<html>")
