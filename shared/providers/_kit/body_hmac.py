"""The commonest signature: an HMAC of the body in a header."""

from typing import Literal, NamedTuple

from shared import signing
from shared.callback import Arrival, Request
from shared.providers._kit.steps import Step, secret_step, signature_steps
from shared.source import Source


class BodyHmac(NamedTuple):
    """An HMAC of the body, in a header (its name in lower case)."""

    header: str
    algorithm: signing.Hash = "sha256"
    encoding: Literal["hex", "base64"] = "hex"

    @property
    def steps(self) -> tuple[Step, ...]:
        """What `verify` looks at."""
        covers = secret_step(f"an HMAC ({self.algorithm}) of the body as it came")
        return (*signature_steps(self.header, self.algorithm, self.encoding), covers)

    def verify(self, arrival: Arrival, source: Source) -> str:
        """The label of the secret that matched. Raises Rejected."""
        signature = signing.read_signature(arrival.headers.get(self.header), self.algorithm, self.encoding)
        return signing.verify_hmac(source.secrets, signature, [arrival.body])

    def sign(self, request: Request, source: Source) -> Request:
        """The request, signed with the source's first secret."""
        make = signing.hmac_hex if self.encoding == "hex" else signing.hmac_base64
        return request.with_headers({self.header: make(source.secrets[0], request.body, self.algorithm)})
