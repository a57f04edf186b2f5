"""The About tab's words on calling this host from elsewhere, in Markdown. `{address}` is where the reader's browser reached it."""

CALLING = """
## Use it from your own code

Every engine of this host stands behind OpenAI's API at `{address}/v1`. [What can be called]({address}/docs), with recorded examples;
[openapi.json]({address}/openapi.json) imports into Postman and Apidog. {access}

**curl**

```bash
{curl}
```

**Python, openai**

```python
{openai}
```

**Python, LangChain**

```python
{langchain}
```

**Open WebUI** lists all models of this host. Under Admin Panel, Settings, Connections, add an OpenAI connection with the URL
`{address}/v1` and the token as its key, or start it so:

```bash
OPENAI_API_BASE_URL={address}/v1 OPENAI_API_KEY="${variable}" open-webui serve
```

From a container this host is called `host.docker.internal` and not 127.0.0.1. Calls from there are not from this machine: start the app
with `--host 0.0.0.0` and a token.

**VS Code, Continue**: a model in `config.yaml`.

```yaml
{continue_}
```

**VS Code, Cline and Roo Code**: API provider *OpenAI Compatible*, base URL `{address}/v1`, the token as API key (any word where there is
none), model `{model}`.

**MCP clients** get the tools `list_models`, `chat` and `compare`: a server in VS Code's `.vscode/mcp.json`, and much the same in others.

```json
{mcp}
```
"""
OPEN = "Programs on this machine may call without a token, since none is set; for others its owner sets `{variable}`."
TOKEN = "The token is the one that its owner set as `{variable}`."  # nosec B105: a sentence
CLOSED = "It answers nobody yet: its owner has not set `{variable}`."
PROMPT = "Give me a short introduction to large language models."
