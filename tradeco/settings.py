"""How this deployment is set up, and how the company is wired.

Everything that differs between machines comes from the environment; everything that staff may change while
the company runs is policy (`missions/policies.py`), never a setting. `wiring` holds the tables of dotted paths, the
one place where lower layers learn of upper ones.
"""

import os
import secrets
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import django_stubs_ext
import environ

from tradeco import wiring
from tradeco.common import logs, postgres

django_stubs_ext.monkeypatch()  # lets ModelAdmin[Proposal] and its like be written at run time
env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
TRADECO_HOME = Path(env.str("TRADECO_HOME", default="") or BASE_DIR / ".tradeco").expanduser().absolute()
TRADECO_PROCESS = env.str("TRADECO_PROCESS", default="manage")
"""Which process of the company this is: web, worker, market, or manage for a command of yours."""

HOST = env.str("HOST", default="127.0.0.1")
PORT = env.int("PORT", default=8000)
DEBUG = env.bool("TRADECO_DEBUG", default=False)


def _secret_key() -> str:
    """The signing key: from the environment, else made once and kept in TRADECO_HOME (mode 600)."""
    given = env.str("TRADECO_SECRET_KEY", default="")
    if given:
        return str(given)
    path = TRADECO_HOME / "secrets" / "secret-key"
    if not path.exists():
        TRADECO_HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        draft = path.with_name(f"secret-key.{os.getpid()}")
        with open(draft, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(secrets.token_urlsafe(64))
        try:
            os.link(draft, path)  # whole or not at all; another process of ours may have been first
        except FileExistsError:
            pass
        draft.unlink()
    return path.read_text()


def _kept_port(name: str) -> int:
    """The port that `up` chose for a server of its own, so that commands typed elsewhere find it; 0 before."""
    path = TRADECO_HOME / "run" / f"{name}-port"
    return int(path.read_text()) if path.exists() else 0


SECRET_KEY = _secret_key()
ALLOWED_HOSTS = env.list("TRADECO_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]", HOST])
CSRF_TRUSTED_ORIGINS = env.list("TRADECO_TRUSTED_ORIGINS", default=[])
CORS_ALLOWED_ORIGINS = env.list("TRADECO_CORS_ORIGINS", default=[])
CORS_URLS_REGEX = r"^/api/"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "corsheaders",
    "csp",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "django_q",
    "pgtrigger",
    "tradeco.common",
    "agents",
    "missions",
    "trading",
    "roundtable",
    "dashboard",
]

MIDDLEWARE = [
    "tradeco.common.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "tradeco.urls"
ASGI_APPLICATION = "tradeco.asgi.application"
WSGI_APPLICATION = "tradeco.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- the database: PostgreSQL, always -------------------------------------------------------------
EMBEDDED_POSTGRES = not env.str("DATABASE_URL", default="")
_database: dict[str, Any] = (
    {"ENGINE": "django.db.backends.postgresql", **postgres.connection(TRADECO_HOME)}
    if EMBEDDED_POSTGRES
    else env.db_url("DATABASE_URL")
)
if not EMBEDDED_POSTGRES:  # a socket's folder comes percent-encoded, as in libpq's own addresses
    _database["HOST"] = unquote(_database["HOST"])
_LIMITS = {  # ms: no statement, wait for a lock, or forgotten transaction may hold the company up
    "statement_timeout": 15_000,
    "lock_timeout": 3_000,
    "idle_in_transaction_session_timeout": 15_000,
}
DATABASES = {"default": _database}
_database["OPTIONS"] = {
    **_database.get("OPTIONS", {}),
    "connect_timeout": 5,
    "application_name": f"tradeco-{TRADECO_PROCESS}",
    "options": " ".join(f"-c {name}={value}" for name, value in _LIMITS.items()),
}
_database["CONN_HEALTH_CHECKS"] = True
_database["CONN_MAX_AGE"] = 0
if TRADECO_PROCESS == "web":
    # Only web: forked workers would share the pool's sockets and mix up each other's results.
    _database["OPTIONS"]["pool"] = {
        "min_size": env.int("TRADECO_POOL_MIN", default=2),
        "max_size": env.int("TRADECO_POOL_MAX", default=20),
        "timeout": 20,  # s a request waits for a connection before it is told to come back later
    }
elif TRADECO_PROCESS in {"worker", "market"}:
    _database["CONN_MAX_AGE"] = None
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- people ---------------------------------------------------------------------------------------
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "dashboard:desk"
SESSION_ENGINE = "tradeco.common.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
# A laptop serves plain http on loopback; behind TLS set TRADECO_TLS=1.
TRADECO_TLS = env.bool("TRADECO_TLS", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = TRADECO_TLS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]  # asked by load balancers in plain http
SECURE_HSTS_SECONDS = 31_536_000 if TRADECO_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = TRADECO_TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRADECO_TLS else None
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}

# --- requests -------------------------------------------------------------------------------------
API_BODY_MAX_BYTES = 256 * 1024  # a proposal is some 2 kB; what is larger is a mistake or an attack
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "dashboard.api.authentication.TokenAuthentication",
        "dashboard.api.authentication.StaffSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["dashboard.api.permissions.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["dashboard.api.parsing.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "dashboard.api.pagination.KeysetPagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "dashboard.api.problems.handle",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "tradeco",
    "DESCRIPTION": "The company's API: propose, decide, watch. Every error is application/problem+json.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {},
}

# --- words and times ------------------------------------------------------------------------------
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = ["tradeco.formats"]

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = env.str("TRADECO_STATIC_ROOT", default="") or None
WHITENOISE_USE_FINDERS = True  # no collectstatic on a laptop

LOGGING_CONFIG = None
logs.configure(process=TRADECO_PROCESS, level=env.str("TRADECO_LOG_LEVEL", default="INFO"))

SENTRY_DSN = env.str("SENTRY_DSN", default="")
if SENTRY_DSN:
    import sentry_sdk

    sentry_sdk.init(dsn=SENTRY_DSN, send_default_pii=False, include_local_variables=False)

# --- where it trades ------------------------------------------------------------------------------
NETWORK = env.str("TRADECO_NETWORK", default="sandbox")
"""sandbox: a Solana chain of its own with play money. mainnet: real money. paper: no chain, for tests and trials."""
SANDBOX_PORT = env.int("TRADECO_SANDBOX_PORT", default=0) or _kept_port("sandbox")
_SANDBOX_URL = f"http://127.0.0.1:{SANDBOX_PORT}"
_ON_SANDBOX = NETWORK == "sandbox"
RPC_URLS = env.list("TRADECO_RPC_URLS", default=[_SANDBOX_URL] if _ON_SANDBOX else [])
"""Solana nodes: one, or better two of different makers. Each is asked what became of a trade, and all must agree."""
JUPITER_URL = env.str("TRADECO_JUPITER_URL", default=_SANDBOX_URL if _ON_SANDBOX else "https://api.jup.ag")
JUPITER_KEY = env.str("TRADECO_JUPITER_KEY", default="")
JUPITER_API = env.str("TRADECO_JUPITER_API", default="v2")
CANDLES_URL = _SANDBOX_URL
SIGNER_SPEND_CAP = env.str("TRADECO_SIGNER_SPEND_CAP", default="1000000" if _ON_SANDBOX else "500")
"""USDC that the signer itself lets buys spend in a UTC day, whatever anybody else says."""
SIGNER_SIGNATURES = env.int("TRADECO_SIGNER_SIGNATURES", default=5_000 if _ON_SANDBOX else 100)
"""How many buys the signer signs in a UTC day."""
SIGNER_SALES = env.int("TRADECO_SIGNER_SALES", default=50_000 if _ON_SANDBOX else 1_000)
"""How many sales it signs in a UTC day: an exit that fails is asked for again and again."""
SIGNER_SLIPPAGE_MOST = env.str("TRADECO_SIGNER_SLIPPAGE_MOST", default="500")
"""Basis points that a sale may go below what the signer is quoted itself; wider than policy's slippage_max_bps."""
PRIORITY_FEE_MOST = env.int("TRADECO_PRIORITY_FEE_MOST", default=100_000)
"""Lamports that a transaction may pay to be taken sooner."""

# --- the market -----------------------------------------------------------------------------------
MARKETS = env.list("TRADECO_MARKETS", default=["SOL/USDC", "JUP/USDC", "BONK/USDC", "WIF/USDC"])
"""What is traded on mainnet; the sandbox's seed or CSV names its own."""
MARKET_SEED = env.int("TRADECO_SEED", default=7)
MARKET_CSV = env.str("TRADECO_MARKET_CSV", default="")
MARKET_NAME = env.str("TRADECO_MARKET", default="SOL/USDC")
MARKET_SPEED = env.float("TRADECO_MARKET_SPEED", default=4.0)
"""Bars a second of a CSV replay; the seeded market runs with the clock on the wall."""
POLICY_SET = env.str("TRADECO_POLICY_SET", default="demo")
"""The set of policies that a new company opens with: demo or production. Later changes are versions."""

# --- voices ---------------------------------------------------------------------------------------
VOICE = env.str("TRADECO_VOICE", default="scripted")
"""scripted: agents speak from the facts by a script. openai: a language model finds the words."""
VOICE_URL = env.str("TRADECO_VOICE_URL", default="")
"""Base address of an OpenAI-compatible endpoint, such as https://api.example.com/v1."""
VOICE_KEY = env.str("TRADECO_VOICE_KEY", default="")
VOICE_MODEL = env.str("TRADECO_VOICE_MODEL", default="")
VOICE_TIMEOUT_SECONDS = env.float("TRADECO_VOICE_TIMEOUT_SECONDS", default=10.0)

# --- processes ------------------------------------------------------------------------------------
Q_CLUSTER = {  # design notes in docs/decisions: each figure avoids a measured trap of django-q2 1.11
    "name": "tradeco",
    "orm": "default",
    "workers": env.int("TRADECO_WORKERS", default=2),
    "queue_limit": 1,
    "bulk": 1,
    "timeout": 45,
    "retry": 300,
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    "save_limit": 100,
    "recycle": 200,
    "poll": 0.1,
    "label": "Doorbell",
    "log_level": "WARNING",
}
UP_PROCESSES: dict[str, dict[str, Any]] = {
    "web": {
        "argv": [
            *(sys.executable, "-m", "daphne", "--verbosity", "0"),
            # a burst of connections waits in the backlog; the default of 50 would reset the rest
            *("-e", "tcp:port={port}:interface={host}:backlog=1024"),
            "tradeco.asgi:application",
        ],
        "stop_seconds": 6,
    },
    "worker": {"argv": [sys.executable, "manage.py", "qcluster"], "stop_seconds": 8},
    "market": {"argv": [sys.executable, "manage.py", "market"], "stop_seconds": 6},
}
if NETWORK != "paper":
    UP_PROCESSES = {
        "signer": {
            "argv": [sys.executable, "manage.py", "signer", "--network", NETWORK],
            "env": {"TRADECO_WALLET_PASSPHRASE_FILE": str(TRADECO_HOME / "wallet" / "sandbox.passphrase")}
            if _ON_SANDBOX
            else {},
            "stop_seconds": 4,
            "secrets": ["TRADECO_WALLET_PASSPHRASE", "TRADECO_WALLET_PASSPHRASE_FILE"],
        },
        **UP_PROCESSES,
    }
UP_PORTS: dict[str, str] = {}
if _ON_SANDBOX:
    UP_PROCESSES = {
        "sandbox": {
            "argv": [sys.executable, "manage.py", "sandbox", *env.str("TRADECO_SANDBOX_OPTIONS", default="").split()],
            "stop_seconds": 6,
        },
        **UP_PROCESSES,
    }
    UP_PORTS = {"TRADECO_SANDBOX_PORT": "sandbox"}
"""Servers of ours whose port `up` chooses: the variable that tells it to children, and the name it is kept by."""
WATCHDOGS = {"worker": "missions.watch.worker_must_be_replaced"}
BOOTSTRAP = [  # in order; each may run again and changes nothing that stands
    "agents.opening.hire",
    "missions.opening.open_company",
    *(["trading.opening.make_demo_wallet"] if _ON_SANDBOX else []),
    "trading.opening.open_books",
    "dashboard.opening.admit",
]
DOORBELL_TASK = "missions.tasks.drain"
BEAT_TASK = "missions.tasks.beat"

# --- how the company is wired ---------------------------------------------------------------------
VENUE = wiring.VENUES.get(NETWORK, "")
FEED = wiring.FEEDS.get(NETWORK, "")
ADMIN_PANELS = wiring.ADMIN_PANELS
ADMIN_WAITING = wiring.ADMIN_WAITING
DECIDERS = wiring.DECIDERS
FACTS = wiring.FACTS
GATES = wiring.GATES
HEARTBEAT = wiring.HEARTBEAT
INITIATIVES = wiring.INITIATIVES
METRICS = wiring.METRICS
PRUNE = wiring.PRUNE
REACTIVE_TRIGGERS = wiring.REACTIVE_TRIGGERS
READINESS = wiring.READINESS
STEP_HANDLERS = wiring.STEP_HANDLERS
TALKED_OF = wiring.TALKED_OF
