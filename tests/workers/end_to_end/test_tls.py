"""With TLS a server is trusted only if its certificate is: by Celery's connections, and by the store's."""

from __future__ import annotations

import ssl
from urllib.parse import parse_qs, urlsplit

import pipelines
import pytest
from celery import Celery

from dagcelery import attach
from dagcelery.client import Client, set_default
from dagcelery.errors import BrokerUnavailable, StoreUnavailable
from dagcelery.settings import Settings

from .site import Site
from .surroundings import CHOSEN

pytestmark = pytest.mark.skipif(
    CHOSEN != "tls", reason="only with DAGCELERY_TEST_SURROUNDINGS=tls, see make test-matrix"
)
SECONDS = 60.0


@pytest.mark.parametrize(("strange", "expected"), [("broker_url", BrokerUnavailable), ("store_url", StoreUnavailable)])
def test_a_server_whose_certificate_nobody_vouches_for_is_refused(
    at: Site, strange: str, expected: type[Exception]
) -> None:
    addresses = {"broker_url": at.broker_url, "store_url": at.store_url}
    # The other name keeps Celery from using a connection that it has already.
    addresses[strange] = addresses[strange].partition("?")[0].replace("127.0.0.1", "localhost")
    with pytest.raises(expected, match="certificate verify failed"):
        Client(Settings(signing_key="key", **addresses)).submit(pipelines.map_reduce, {"n": 3})


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_teams_app_may_say_beside_its_addresses_what_its_certificates_are(at: Site, scheme: str) -> None:
    broker, backend = (url.replace("rediss", scheme).partition("?")[0] for url in (at.broker_url, at.store_url))
    files = {name: found[0] for name, found in parse_qs(urlsplit(at.broker_url).query).items()}
    app = Celery("secured", broker=broker, backend=backend, set_as_current=False)
    app.conf.broker_use_ssl = app.conf.redis_backend_use_ssl = files | {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    replaced = set_default(None)
    try:
        run = attach(app, signing_key=at.cluster.signing_key).submit(pipelines.map_reduce_gpu, {"n": 5})
        assert run.result(timeout=SECONDS) == 30
    finally:
        set_default(replaced)
