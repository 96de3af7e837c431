"""What the files of several providers have in common."""

from shared.providers._kit.body_hmac import BodyHmac
from shared.providers._kit.requests import form_request, json_request, number_if_whole, time_text, without_none
from shared.providers._kit.respelled import Respelled
from shared.providers._kit.statuses import Meaning, Statuses
from shared.providers._kit.steps import Step, apart, bearer_steps, secret_step, signature_steps, unsigned_step, where

__all__ = [
    "BodyHmac",
    "Meaning",
    "Respelled",
    "Statuses",
    "Step",
    "apart",
    "bearer_steps",
    "form_request",
    "json_request",
    "number_if_whole",
    "secret_step",
    "signature_steps",
    "time_text",
    "unsigned_step",
    "where",
    "without_none",
]
