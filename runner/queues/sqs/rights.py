"""What an AWS identity may not do with a queue, learned with a receipt of no message."""

from __future__ import annotations

from runner.errors import LeaseLost, QueueDenied, QueueUnavailable
from runner.queues.base import Rights
from runner.queues.sqs.account import Account

#: Amazon looks at rights first; of a receipt that it never gave it says that it is invalid.
_RECEIPT = "studio-runner-doctor"


async def rights(account: Account, url: str) -> Rights:
    """Try to keep and to delete nothing."""
    trials = {
        "change_message_visibility": {"VisibilityTimeout": 0},
        "delete_message": {},
    }
    missing = []
    for operation, more in trials.items():
        try:
            await account.ask(operation, QueueUrl=url, ReceiptHandle=_RECEIPT, **more)
        except QueueDenied as error:
            missing.append(str(error))
        except (LeaseLost, QueueUnavailable):
            pass  # it was allowed to ask
    return Rights(tuple(missing), untold="sqs:ReceiveMessage")
