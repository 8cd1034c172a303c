"""Calls to Slack through its SDK, each bounded in time, and its answers in our own words."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import WebClient
from slack_sdk.webhook import WebhookClient

from runner.redaction import Secret
from runner.reporters.courier import Hopeless, Later
from runner.reporters.errand import Errands, StillBusy
from runner.reporters.posting import CALL, wanted_pause
from runner.reporters.slack_cards import Card

T = TypeVar("T")

#: Seconds without a byte.
_SILENCE = 10
_TOO_MANY = 429
_SERVER_ERROR = 500
#: What Slack answers when it is worth another try.
_PASSING = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable"}
    | {"request_timeout", "rollup_error", "team_added_to_org", "org_login_required"}
)
#: The message is gone, or too old to be changed: a new one takes its place.
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
#: The place is wrong, not what is said.
_NO_PLACE = frozenset(
    {"channel_not_found", "not_in_channel", "is_archived", "channel_is_archived"}
    | {"restricted_action", "action_prohibited", "user_not_found", "messages_tab_disabled"}
    | {"restricted_action_read_only_channel", "restricted_action_thread_only_channel"}
    | {"posting_to_general_channel_denied"}
)
_ANEW = "install its app again, and put the new token into --slack-token-file"
_ANOTHER_HOOK = "make another one, and put its address into --slack-hook-file"
_MAY_NOT = "only some may write to the channel: let the bot, or name another one"
_REMEDIES: Mapping[str, str] = {
    "channel_not_found": "there is no such channel, or it is private: invite the bot to it",
    "not_in_channel": "invite the bot to the channel, or give it the scope chat:write.public",
    "is_archived": "the channel is archived: name another one",
    "channel_is_archived": "the channel is archived: name another one",
    "restricted_action": _MAY_NOT,
    "restricted_action_read_only_channel": _MAY_NOT,
    "restricted_action_thread_only_channel": _MAY_NOT,
    "posting_to_general_channel_denied": _MAY_NOT,
    "action_prohibited": _MAY_NOT,
    "invalid_auth": f"the bot's token is not accepted: {_ANEW}",
    "not_authed": f"the bot's token is not accepted: {_ANEW}",
    "not_allowed_token_type": "it is no bot's token: take the one that begins with xoxb-",
    "token_revoked": f"the bot's token was revoked: {_ANEW}",
    "token_expired": f"the bot's token has expired: {_ANEW}",
    "account_inactive": f"the bot was removed from the workspace: {_ANEW}",
    "missing_scope": "give the bot the scope chat:write and install its app again",
    "no_service": f"the hook was removed: {_ANOTHER_HOOK}",
    "no_active_hooks": f"the hook was removed: {_ANOTHER_HOOK}",
    "no_team": f"the hook's workspace is not there: {_ANOTHER_HOOK}",
    "invalid_token": f"the hook is not accepted: {_ANOTHER_HOOK}",
}


class NoPlace(Hopeless):
    """Slack will not have a message in this channel."""


class MessageGone(Hopeless):
    """The message that was to be changed is not there."""


class Calls:
    """A bot's calls, or those of an incoming webhook where there is no bot."""

    def __init__(self, *, token: Secret, hook: Secret, api: str) -> None:
        quiet = _quiet()
        self._errands = Errands("slack", seconds=CALL)
        # Its own retries would block the thread, and know nothing of our patience.
        self._web = WebClient(
            token=token.reveal(), base_url=api, timeout=_SILENCE, logger=quiet, retry_handlers=[]
        )
        self._hook = WebhookClient(hook.reveal(), timeout=_SILENCE, logger=quiet, retry_handlers=[])
        # urllib itself heeds HTTPS_PROXY, and NO_PROXY as well, which the SDK does not know.
        self._web.proxy = self._hook.proxy = None

    async def post(self, channel: str, card: Card, *, below: str = "") -> tuple[str, str]:
        """Post a message, ``below`` another one where that is named.

        Return Slack's names of channel and message. Raises Later, NoPlace, Hopeless.
        """

        def call() -> tuple[str, str]:
            answer = self._web.chat_postMessage(
                channel=channel,
                thread_ts=below or None,
                unfurl_links=False,
                unfurl_media=False,
                **_said(card),
            )
            return str(answer.get("channel") or channel), str(answer.get("ts") or "")

        return await self._run(call)

    async def change(self, channel: str, ts: str, card: Card) -> None:
        """Change a message. Raises Later, MessageGone, Hopeless."""

        def call() -> None:
            self._web.chat_update(channel=channel, ts=ts, **_said(card))

        await self._run(call)

    async def hook(self, channel: str, card: Card) -> None:
        """Post through the hook; only old hooks heed the channel. Raises Later, Hopeless."""
        body = {"text": card.text, "blocks": list(card.blocks)}
        if channel:
            body["channel"] = channel

        def call() -> None:
            answer = self._hook.send_dict(body)
            said = answer.body[:100].strip()
            if answer.status_code != http.client.OK or said.startswith("<"):
                _refuse(answer.status_code, answer.headers, said)

        await self._run(call)

    async def who(self) -> str:
        """Ask whose the token is, and tell nobody anything. Raises Later, Hopeless."""

        def call() -> str:
            answer = self._web.auth_test()
            return f"{answer.get('user') or 'a bot'} in {answer.get('team') or 'a workspace'}"

        return await self._run(call)

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            return await self._errands.run(call)
        except SlackApiError as error:
            answer = error.response
            named = str(answer.get("error") or "an answer without words")
            _refuse(answer.status_code, answer.headers, named)
        except TimeoutError:
            raise Later(f"no answer within {CALL:g} s") from None
        except StillBusy as error:
            raise Later(str(error)) from None
        except (OSError, http.client.HTTPException, ValueError, SlackClientError) as error:
            # Of what the SDK says only the reason: an address may be all that keeps a hook secret.
            raise Later(f"it cannot be reached: {_reason(error)}") from None


def _said(card: Card) -> dict[str, Any]:
    return {
        "text": card.text,
        "blocks": list(card.blocks),
        "parse": "none",
        "link_names": False,
    }


def _refuse(status: int, headers: Mapping[str, str], error: str) -> NoReturn:
    """Raise what an answer means that is no success."""
    if status == _TOO_MANY:
        named = {name.lower(): value for name, value in headers.items()}
        raise Later("too many messages at once", wanted_pause(named.get("retry-after")))
    # All that Slack says is one word; a page of somebody else's may repeat the hook's address.
    said = error[:100] if error.isidentifier() else ""
    if status == http.client.OK and not said:
        raise Later("a page answers in Slack's place: a proxy, or a network that wants a login")
    if status >= _SERVER_ERROR or said in _PASSING:
        raise Later(f"it answers {status}" + (f": {said}" if said else ""))
    remedy = _REMEDIES.get(said)
    told = f"Slack answers {said or status}" + (f": {remedy}" if remedy else "")
    if said in _NO_PLACE:
        raise NoPlace(told)
    raise MessageGone(told) if said in _GONE else Hopeless(told)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    named = getattr(reason, "strerror", None) or type(reason).__name__
    return str(named)


def _quiet() -> logging.Logger:
    """Return a logger that is heard by nobody: what fails is told once, by the courier."""
    logger = logging.getLogger("runner.reporters.slack-sdk")
    logger.propagate, logger.disabled = False, True
    logger.setLevel(logging.CRITICAL)
    return logger
