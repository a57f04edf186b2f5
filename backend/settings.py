"""One frozen `Settings`, read once from the environment and `.env`, passed down. Names are those of the README.

Keys are `SecretStr`: they show in no log, error or record.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from platformdirs import user_data_dir
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backend.addresses import http_address
from backend.errors import BadInput, ConfigError
from backend.origins import HostName, host_name, origin_of

Region = Literal["beijing", "singapore", "virginia", "hongkong"]
REGION_HOSTS: Mapping[str, str] = {
    "beijing": "https://dashscope.aliyuncs.com",
    "singapore": "https://dashscope-intl.aliyuncs.com",
    "virginia": "https://dashscope-us.aliyuncs.com",
    "hongkong": "https://cn-hongkong.dashscope.aliyuncs.com",
}


_MEND = "Mend it in the environment or in .env and start again."


def _address(value: str) -> str:
    try:
        return http_address(value)
    except BadInput as error:
        raise ValueError(f"{error.message} {error.hint}".rstrip(".")) from None


class Server(BaseModel):
    """An OpenAI-compatible server: `base_url` ends where `/chat/completions` is appended, usually in `/v1`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")
    base_url: str
    api_key: SecretStr | None = None

    @field_validator("base_url")
    @classmethod
    def _http(cls, value: str) -> str:
        return _address(value).rstrip("/")

    @classmethod
    def at(cls, address: str, key: str = "") -> Server:
        """A server that a person typed in, named by its host and port. Raises `BadInput` for what is no address."""
        base_url = http_address(address)
        parts = urlsplit(base_url)
        port = parts.port or (80 if parts.scheme == "http" else 443)
        name = re.sub(r"[^A-Za-z0-9._-]", "-", f"{parts.hostname}-{port}")[-40:]
        return cls(name=name, base_url=base_url, api_key=SecretStr(key.strip()) if key.strip() else None)


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True)

    dashscope_api_key: SecretStr | None = None
    dashscope_base_url: str | None = None
    dashscope_region: Annotated[tuple[Region, ...], NoDecode] = ("singapore",)
    dashscope_protocol: Literal["compatible", "native"] = "compatible"
    dashscope_api_key_beijing: SecretStr | None = None
    dashscope_api_key_singapore: SecretStr | None = None
    dashscope_api_key_virginia: SecretStr | None = None
    dashscope_api_key_hongkong: SecretStr | None = None
    openai_base_url: str | None = None
    openai_api_key: SecretStr | None = None
    servers: tuple[Server, ...] = Field(default=(), validation_alias=AliasChoices("servers", "PLAYGROUND_SERVERS"))
    model: str | None = Field(default=None, validation_alias=AliasChoices("model", "PLAYGROUND_MODEL"))
    data_dir: Path = Field(
        default_factory=lambda: Path(user_data_dir("qwen3-next-playground", appauthor=False)),
        validation_alias=AliasChoices("data_dir", "PLAYGROUND_DATA_DIR"),
    )
    database_url: str | None = Field(default=None, validation_alias=AliasChoices("database_url", "PLAYGROUND_DATABASE_URL"))
    api_token: SecretStr | None = Field(default=None, validation_alias=AliasChoices("api_token", "PLAYGROUND_API_TOKEN"))
    public: bool = Field(default_factory=lambda: "SPACE_ID" in os.environ, validation_alias=AliasChoices("public", "PLAYGROUND_PUBLIC"))
    hosts: Annotated[tuple[HostName, ...], NoDecode] = Field(default=(), validation_alias=AliasChoices("hosts", "PLAYGROUND_HOSTS"))
    origins: Annotated[tuple[str, ...], NoDecode] = Field(default=(), validation_alias=AliasChoices("origins", "PLAYGROUND_ORIGINS"))
    proxies: int | None = Field(default=None, ge=0, le=10, validation_alias=AliasChoices("proxies", "PLAYGROUND_PROXIES"))
    daily_answers: int | None = Field(default=None, ge=0, validation_alias=AliasChoices("daily_answers", "PLAYGROUND_DAILY_ANSWERS"))
    demo: bool = True

    @field_validator("hosts", mode="before")
    @classmethod
    def _host_names(cls, value: Any) -> Any:
        return tuple(_host(part) for part in _parts(value)) if isinstance(value, str) else value

    @field_validator("origins", mode="before")
    @classmethod
    def _origins(cls, value: Any) -> Any:
        return tuple(_origin(part) for part in _parts(value)) if isinstance(value, str) else value

    @field_validator("dashscope_region", mode="before")
    @classmethod
    def _regions(cls, value: Any) -> Any:
        return _parts(value) if isinstance(value, str) else value

    @field_validator("dashscope_base_url")
    @classmethod
    def _host_only(cls, value: str | None) -> str | None:
        """People paste the whole address; keep scheme and host, since the paths are ours to append."""
        if value is None:
            return None
        parts = urlsplit(_address(value))
        return f"{parts.scheme}://{parts.netloc}"

    @field_validator("openai_base_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        return None if value is None else _address(value)

    @property
    def all_servers(self) -> tuple[Server, ...]:
        """`OPENAI_BASE_URL` as the server named `default`, then those of `PLAYGROUND_SERVERS`."""
        if self.openai_base_url is None:
            return self.servers
        return (Server(name="default", base_url=self.openai_base_url, api_key=self.openai_api_key), *self.servers)

    def dashscope_host(self, region: str) -> str:
        return self.dashscope_base_url or REGION_HOSTS[region]

    def dashscope_key(self, region: str) -> SecretStr | None:
        """The region's own key, else the general one."""
        own = {
            "beijing": self.dashscope_api_key_beijing,
            "singapore": self.dashscope_api_key_singapore,
            "virginia": self.dashscope_api_key_virginia,
            "hongkong": self.dashscope_api_key_hongkong,
        }
        return own.get(region) or self.dashscope_api_key


def _parts(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _host(text: str) -> HostName:
    found = host_name(text) or host_name(text.encode("idna").decode())
    if found is None:
        raise ValueError("a name has no scheme and no path: as gpu.example or 192.168.1.5:7860")
    return found


def _origin(text: str) -> str:
    found = origin_of(text)
    if found is None:
        raise ValueError("an origin is a scheme and a name, without a path: as https://tools.example")
    return found


def load_settings(**overrides: Any) -> Settings:
    """Reads the settings; raises `ConfigError` that names each wrong one and never shows its value."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ConfigError(f"A setting is not valid: {wrong}.", hint=_MEND) from None
    except ValueError as error:  # PLAYGROUND_SERVERS that is no JSON
        raise ConfigError(f"A setting is not valid: {error}.", hint=_MEND) from None
