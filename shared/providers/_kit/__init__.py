"""What the files of several providers have in common."""

from shared.providers._kit.body_hmac import BodyHmac
from shared.providers._kit.requests import form_request, json_request, number_if_whole, time_text, without_none
from shared.providers._kit.respelled import Respelled
from shared.providers._kit.statuses import Meaning, Statuses

__all__ = [
    "BodyHmac",
    "Meaning",
    "Respelled",
    "Statuses",
    "form_request",
    "json_request",
    "number_if_whole",
    "time_text",
    "without_none",
]
