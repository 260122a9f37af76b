"""One certificate from an authority that speaks ACME (RFC 8555). Needs the packages acme and josepy.

Calls wait for the network: whoever owns the event loop makes them in a thread. The challenge is TLS-ALPN-01
(RFC 8737), the one that a relay can answer on the port it has anyway; version 5 of acme has dropped it, so
the few lines that it takes are here.
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC
from requests import RequestException

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.node.acme_http import BoundedExchange, TooLongError

PATIENCE: Final = datetime.timedelta(seconds=90)  # for the authority to look, and to issue
REQUEST_TIMEOUT_S: Final = 30
MAX_CHAIN: Final = 64 * 1024

# What acme and josepy raise besides their own errors where JSON is not of the shape that they expect.
_MISREAD: Final = (ValueError, TypeError, KeyError, AttributeError, AssertionError, OSError)
_T = TypeVar("_T")

# What an authority's error codes mean for an operator (RFC 8555 section 6.7).
_MEANINGS: Final = {
    "connection": "the authority cannot reach this relay at port 443 of the host name",
    "dns": "the authority finds no address for the host name",
    "tls": "the authority did not get our answer at port 443 of the host name",
    "unauthorized": "the authority did not get our answer at port 443 of the host name",
    "incorrectResponse": "the authority did not get our answer at port 443 of the host name",
    "caa": "the host name's CAA record names other authorities",
    "rateLimited": "the authority has issued too many certificates, or seen too many failures, lately",
    "rejectedIdentifier": "the authority issues none for this host name",
    "externalAccountRequired": "the authority wants an account made elsewhere; choose another one",
    "invalidContact": "the authority does not take htx.acme_contact",
}


@challenges.ChallengeResponse.register
class _Response(challenges.KeyAuthorizationChallengeResponse):
    typ = "tls-alpn-01"


@challenges.Challenge.register
class _TlsAlpn01(challenges.KeyAuthorizationChallenge):
    typ = "tls-alpn-01"
    response_cls = _Response

    def validation(self, account_key: JWK, **_: Any) -> bytes:  # noqa: ANN401  # as in acme
        """Return the digest that the answer's certificate holds."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self.key_authorization(account_key).encode("ascii"))
        return digest.finalize()


class AcmeError(EnvironmentRefusedError):
    """No certificate this time; the text names no address and can be shown to the operator."""


@dataclass(frozen=True)
class Authority:
    """Whom to ask, and as whom."""

    directory: str
    contact: str
    roots: Path | None


class Order:
    """One order for one name, from the account on; `begin`, then `finish` while the answer can be fetched.

    Args:
        authority: whom to ask.
        account_key: of our account there.
        host_name: whose certificate.
    """

    def __init__(self, authority: Authority, account_key: ec.EllipticCurvePrivateKey, host_name: str) -> None:
        self._authority = authority
        self._key = JWKEC(key=account_key)
        self._host_name = host_name
        self._site_key = ec.generate_private_key(ec.SECP256R1())
        self._client: client.ClientV2 | None = None
        self._order: messages.OrderResource | None = None
        self._challenge: messages.ChallengeBody | None = None
        self._exchange: BoundedExchange | None = None
        self._is_aborted = False

    def abort(self) -> None:
        """Break off what waits for the authority, in whichever thread; nothing more can be asked."""
        self._is_aborted = True
        if self._exchange is not None:
            self._exchange.abort()

    def begin(self) -> bytes | None:
        """Order; return the digest to be answered with, None if the authority wants no further proof.

        Raises:
            AcmeError: it refuses, or cannot be reached.
        """
        return _explained(self._begin)

    def _begin(self) -> bytes | None:
        verify: Any = True if self._authority.roots is None else str(self._authority.roots)
        net = client.ClientNetwork(
            self._key,
            alg=ES256,
            verify_ssl=verify,
            timeout=REQUEST_TIMEOUT_S,
        )
        self._exchange = BoundedExchange(net.session)
        if self._is_aborted:
            raise AcmeError("broken off")
        directory = client.ClientV2.get_directory(self._authority.directory, net)
        self._client = client.ClientV2(directory, net)
        self._sign_in(self._client)
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(self._host_name)]), critical=False)
            .sign(self._site_key, hashes.SHA256())
        )
        self._order = self._client.new_order(request.public_bytes(Encoding.PEM))
        (authorization,) = self._order.authorizations
        if authorization.body.status == messages.STATUS_VALID:
            return None
        for offered in authorization.body.challenges:
            if isinstance(offered.chall, _TlsAlpn01):
                self._challenge = offered
                return offered.chall.validation(self._key)
        raise AcmeError("the authority does not offer tls-alpn-01, the proof that a relay can give")

    def _sign_in(self, found: client.ClientV2) -> None:
        email = self._authority.contact or None
        wanted = messages.NewRegistration.from_data(email=email, terms_of_service_agreed=True)
        try:
            found.new_account(wanted)
        except errors.ConflictError as known:
            found.net.account = messages.RegistrationResource(
                uri=known.location, body=messages.Registration.from_data(email=email)
            )

    def finish(self) -> bytes:
        """Let the authority look, and return the new key and its chain in PEM.

        Raises:
            AcmeError: the authority did not get our answer, or issued nothing that we can use.
        """
        return _explained(self._finish)

    def _finish(self) -> bytes:
        if self._client is None or self._order is None:
            raise AcmeError("the order was not begun")
        if self._challenge is not None:
            self._client.answer_challenge(self._challenge, self._challenge.chall.response(self._key))
        # acme compares with the machine's own clock, without a zone
        deadline = datetime.datetime.now() + PATIENCE  # noqa: DTZ005
        chain = self._client.poll_and_finalize(self._order, deadline).fullchain_pem.encode("ascii")
        if len(chain) > MAX_CHAIN:
            raise AcmeError(f"the authority's chain has {len(chain)} octets, at most {MAX_CHAIN}")
        leaf = x509.load_pem_x509_certificates(chain)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if (
            leaf.public_key() != self._site_key.public_key()
            or self._host_name not in names.get_values_for_type(x509.DNSName)
        ):
            raise AcmeError("the authority issued a certificate for another key or name")
        return self._site_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain


def _explained(step: Callable[[], _T]) -> _T:
    """Run a step; what goes wrong becomes an `AcmeError`, whose text is ours and not the authority's."""
    try:
        return step()
    except AcmeError:
        raise
    except errors.ValidationError as error:
        found = [
            challenge.error
            for failed in error.failed_authzrs
            for challenge in failed.body.challenges
            if challenge.error is not None
        ]
        raise AcmeError(_meaning(found[0]) if found else "the authority was not convinced") from error
    except messages.Error as error:
        raise AcmeError(_meaning(error)) from error
    except errors.IssuanceError as error:
        raise AcmeError(_meaning(error.error)) from error
    except errors.TimeoutError as error:
        raise AcmeError("the authority has not decided in time") from error
    except TooLongError as error:
        raise AcmeError("the authority's answer is too long") from error
    except RequestException as error:
        raise AcmeError(f"the authority cannot be reached ({type(error).__name__})") from error
    except (errors.Error, JoseError, x509.ExtensionNotFound, *_MISREAD) as error:
        raise AcmeError(f"the authority's answer cannot be used ({type(error).__name__})") from error


def _meaning(error: messages.Error) -> str:
    """Say what an error of the authority's means; its own words may hold addresses."""
    code = error.code or "unknown"
    return _MEANINGS.get(code, f"the authority refuses: {code}")
