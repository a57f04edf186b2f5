"""From names to routes: who is reached with which key, in which order, and what is refused."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from backend.catalogue import catalogue
from backend.engines import MAX_SERVERS, Access, Engines, ModelChoice
from backend.errors import AuthError, BadInput, ConfigError, Unavailable, UnknownModel
from backend.pipeline import Route
from backend.provider import Provider
from backend.provider_pool import PooledProvider
from backend.settings import REGION_HOSTS, Server, load_settings
from backend.types import ChatRequest, Message, Started
from tests.emulator import running_emulator
from tests.running_page import free_port

NEXT = "dashscope:qwen3-next-80b-a3b-thinking"
KEY = SecretStr("sk-visitor")
NOBODY = Access()


@pytest.fixture(scope="module")
def emulator():
    with running_emulator() as base_url:
        yield base_url


@pytest.fixture
async def engines():
    built: list[Engines] = []

    def build(**settings) -> Engines:
        built.append(Engines(load_settings(**settings), catalogue()))
        return built[-1]

    yield build
    for each in built:
        await each.aclose()


async def in_use(built: Engines, route: Route) -> Provider:
    """What stands behind a route, built as a request would."""
    if not isinstance(route.provider, PooledProvider):
        return route.provider
    async with built._pool.use(route.provider._key, route.provider._build) as provider:
        return provider


# ---------------------------------------------------------------- names
@pytest.mark.parametrize(
    "name", ["", "qwen-plus", "dashscope:", "server:", ":x", "nowhere:x", "server:gone/x", "server:default", "server:/x"]
)
async def test_a_name_that_leads_nowhere_is_an_unknown_model_with_a_hint(engines, name):
    with pytest.raises(UnknownModel) as caught:
        await engines(dashscope_api_key="k").routes(name, NOBODY)
    assert caught.value.hint


async def test_each_engine_by_its_name(engines):
    built = engines(dashscope_api_key="k", openai_base_url="http://127.0.0.1:9/v1")
    found = {}
    for name in (NEXT, "server:default/org/model", "local:demo", "local:./folder", "replay:python-code"):
        (route,) = await built.routes(name, NOBODY)
        found[name] = (type(await in_use(built, route)).__name__, route.model, route.region)
    assert found == {
        NEXT: ("OpenAICompatibleProvider", "qwen3-next-80b-a3b-thinking", "singapore"),
        "server:default/org/model": ("OpenAICompatibleProvider", "org/model", None),
        "local:demo": ("LocalProvider", "demo", None),
        "local:./folder": ("LocalProvider", "./folder", None),
        "replay:python-code": ("ReplayProvider", "python-code", None),
    }


async def test_the_native_protocol_where_asked_for(engines):
    built = engines(dashscope_api_key="k", dashscope_protocol="native")
    (route,) = await built.routes(NEXT, NOBODY)
    assert type(await in_use(built, route)).__name__ == "DashScopeNativeProvider"


async def test_a_provider_is_built_once_a_place_and_key(engines):
    built = engines(dashscope_api_key="k")
    one, again = [await in_use(built, (await built.routes(NEXT, NOBODY))[0]) for _ in range(2)]
    other = await in_use(built, (await built.routes(NEXT, Access(KEY)))[0])
    assert one is again and other is not one


# ---------------------------------------------------------------- regions
async def test_fail_over_follows_the_order_of_the_regions_that_have_a_key(engines):
    built = engines(dashscope_region="beijing,singapore,virginia", dashscope_api_key_beijing="b", dashscope_api_key_virginia="v")
    assert [route.region for route in await built.routes(NEXT, NOBODY)] == ["beijing", "virginia"]
    assert [r.region for r in await engines(dashscope_region="virginia,beijing", dashscope_api_key="k").routes(NEXT, NOBODY)] == [
        "virginia",
        "beijing",
    ]


async def test_a_visitors_key_is_used_alone_and_in_its_own_region(engines):
    built = engines(dashscope_region="beijing,singapore", dashscope_api_key="owner")
    (route,) = await built.routes(NEXT, Access(KEY, "virginia"))
    assert route.region == "virginia"
    (route,) = await built.routes(NEXT, Access(KEY))
    assert route.region == "beijing"


async def test_without_a_key_the_error_tells_where_to_put_one(engines):
    with pytest.raises(ConfigError) as caught:
        await engines().routes(NEXT, NOBODY)
    assert "DASHSCOPE_API_KEY" in caught.value.hint and "Connect" in caught.value.hint


async def test_what_a_hosted_model_can_do_is_known_without_a_key(engines):
    found = await engines().capabilities(NEXT, NOBODY)
    assert found.known and found.thinking == "always" and found.name == NEXT


@pytest.mark.parametrize("region", list(REGION_HOSTS))
def test_the_place_that_is_shown_is_the_regions_and_holds_no_key(engines, region):
    place = engines(dashscope_region=region, dashscope_api_key="sk-own").place(NEXT, NOBODY)
    assert (place.engine, place.base_url) == ("dashscope", REGION_HOSTS[region])
    assert "sk-own" not in repr(place)


# ---------------------------------------------------------------- choices
async def test_the_picker_without_a_key_shows_what_works_first(engines):
    choices = await engines().choices(NOBODY)
    assert choices[0].name == "local:demo" and choices[0].ready
    hosted = [c for c in choices if c.name.startswith("dashscope:")]
    assert len(hosted) == sum(c.engine == "dashscope" for c in catalogue().models)
    assert not any(c.ready for c in hosted) and "key" in hosted[0].place


@pytest.mark.parametrize(("settings", "access"), [({"dashscope_api_key": "k"}, NOBODY), ({}, Access(KEY))])
async def test_the_picker_with_a_key_shows_hosted_models_first(engines, settings, access):
    choices = await engines(**settings).choices(access)
    assert choices[0].name.startswith("dashscope:") and choices[0].ready
    assert [c.name for c in choices[-2:]] == ["local:demo", "local:qwen3-next-tiny"]
    assert "Singapore" in choices[0].place


async def test_servers_are_asked_and_one_that_fails_does_not_hide_the_others(engines, emulator):
    servers = (Server(name="gone", base_url=f"http://127.0.0.1:{free_port()}/v1"), Server(name="here", base_url=f"{emulator}/v1"))
    choices = await engines(servers=servers).choices(NOBODY)
    assert choices[0].name.startswith("server:here/") and not [c for c in choices if c.name.startswith("server:gone")]
    assert "Qwen3-Next 80B-A3B Thinking" in {c.title for c in choices if c.name.startswith("server:here/")}


async def test_a_model_folder_given_at_the_start_is_in_the_picker(engines):
    choices = await engines(model="local:./my-model").choices(NOBODY)
    assert choices[0].name == "local:./my-model"


DEMO = ModelChoice("local:demo", "Demo", "here")


@pytest.mark.parametrize(
    ("wanted", "choices", "found"),
    [
        (None, [DEMO, ModelChoice(NEXT, "t", "p", ready=False)], "local:demo"),
        (None, [ModelChoice("dashscope:qwen-plus", "t", "p"), ModelChoice(NEXT, "t", "p"), DEMO], NEXT),
        (None, [ModelChoice("server:a/b", "t", "p"), DEMO], "server:a/b"),
        ("dashscope:qwen-flash", [DEMO], "dashscope:qwen-flash"),
    ],
)
def test_the_default_model(engines, wanted, choices, found):
    assert engines(model=wanted).default_model(choices) == found


# ---------------------------------------------------------------- keys and servers
async def test_a_key_is_checked_by_listing_models(engines, emulator):
    built = engines(dashscope_base_url=emulator)
    assert await built.check_dashscope_key(Access(KEY, "singapore")) > 0
    with pytest.raises(AuthError) as caught:
        await built.check_dashscope_key(Access(SecretStr("sk-wrong"), "singapore"))
    assert "region" in caught.value.hint and "sk-wrong" not in str(caught.value) + caught.value.hint


async def test_a_server_that_is_not_there_is_unavailable(engines):
    with pytest.raises(Unavailable):
        await engines().list_models(Server(name="gone", base_url=f"http://127.0.0.1:{free_port()}/v1"))


async def test_what_a_visitor_brought_is_not_in_its_repr():
    access = Access(KEY).with_server(Server(name="a", base_url="http://h/v1", api_key=SecretStr("sk-server")))
    assert "sk-visitor" not in repr(access) and "sk-server" not in repr(access)


def test_a_server_added_again_replaces_the_first():
    access = NOBODY.with_server(Server(name="a", base_url="http://one/v1")).with_server(Server(name="a", base_url="http://two/v1"))
    assert [s.base_url for s in access.servers] == ["http://two/v1"] and NOBODY.servers == ()


async def test_a_visitors_server_is_only_theirs(engines):
    built = engines()
    mine = NOBODY.with_server(Server(name="mine", base_url="http://127.0.0.1:9/v1"))
    assert (await built.routes("server:mine/m", mine))[0].model == "m"
    with pytest.raises(UnknownModel):
        await built.routes("server:mine/m", NOBODY)


# ---------------------------------------------------------------- private addresses
async def test_on_a_public_host_visitors_run_only_the_owners_local_models(engines):
    built = engines(public=True, model="local:Qwen/Qwen3-0.6B")
    for name, taken in (("local:demo", True), ("local:Qwen/Qwen3-0.6B", True), ("local:Qwen/Qwen3-32B", False), ("local:/etc", False)):
        route = (await built.routes(name, Access()))[0]
        stream = route.provider.stream(ChatRequest(route.model, (Message("user", "hi"),)))
        assert isinstance(await anext(stream), Started)
        if not taken:
            with pytest.raises(UnknownModel, match="owner"):
                await anext(stream)
        await stream.aclose()
    assert engines()._owners_models() is None


@pytest.mark.parametrize("reach", ["list", "route"])
async def test_on_a_public_host_a_visitors_private_server_is_not_called(engines, emulator, reach):
    server = Server(name="inside", base_url=f"{emulator}/v1")
    built = engines(public=True)
    with pytest.raises(BadInput, match="private addresses"):
        await (built.list_models(server) if reach == "list" else built.routes("server:inside/m", NOBODY.with_server(server)))


async def test_on_a_public_host_the_owners_own_private_server_may_be_called(engines, emulator):
    built = engines(public=True, servers=(Server(name="own", base_url=f"{emulator}/v1"),))
    assert (await built.routes("server:own/m", NOBODY))[0].model == "m"


async def test_a_visitor_cannot_pass_as_the_owners_server(engines, emulator):
    built = engines(public=True, servers=(Server(name="own", base_url="http://10.0.0.1/v1"),))
    with pytest.raises(BadInput, match="private addresses"):
        await built.routes("server:own/m", NOBODY.with_server(Server(name="own", base_url=f"{emulator}/v1")))


async def test_where_the_page_listens_to_others_a_visitors_private_server_is_not_called(engines, emulator):
    server = Server(name="inside", base_url=f"{emulator}/v1")
    built = engines(servers=(Server(name="own", base_url=f"{emulator}/v1"),))
    assert await built.list_models(server)  # on one's own machine
    built.serve_others()
    with pytest.raises(BadInput, match="private addresses"):
        await built.list_models(server)
    assert await built.list_models(built.settings.all_servers[0])


def test_a_visitor_has_as_many_servers_as_the_limit():
    access = NOBODY
    for number in range(MAX_SERVERS):
        access = access.with_server(Server.at(f"http://host{number}/v1"))
    again = access.with_server(Server.at("http://host0/v2"))  # takes the place of the first
    assert len(again.servers) == MAX_SERVERS
    with pytest.raises(BadInput, match=f"{MAX_SERVERS} servers"):
        again.with_server(Server.at("http://one-more/v1"))


async def test_servers_are_asked_beside_each_other(engines, monkeypatch):
    built, asked, all_asked = engines(), [], asyncio.Event()

    async def listed(server):
        asked.append(server.name)
        if len(asked) == 3:
            all_asked.set()
        async with asyncio.timeout(10):
            await all_asked.wait()
        return []

    monkeypatch.setattr(built, "list_models", listed)
    access = NOBODY
    for number in range(3):
        access = access.with_server(Server.at(f"http://host{number}/v1"))
    assert await built.choices(access) and len(asked) == 3


@pytest.mark.parametrize(
    ("address", "name", "base_url"),
    [
        (" HTTP://Host:8000/v1/ ", "host-8000", "http://Host:8000/v1"),
        ("https://[::1]/v1", "--1-443", "https://[::1]/v1"),
        ("http://büro_1.example:8000", "b-ro_1.example-8000", "http://büro_1.example:8000"),
    ],
)
def test_a_server_is_named_by_its_host_and_port(address, name, base_url):
    server = Server.at(address, " sk-a ")
    assert (server.name, server.base_url, server.api_key) == (name, base_url, SecretStr("sk-a"))
