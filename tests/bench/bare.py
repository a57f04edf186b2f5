"""Baselines, each as little as Gradio needs: `python tests/bench/bare.py KIND PORT [EMULATOR]`.

handler   gr.Chatbot fed by an async generator that paces itself, 20 updates a second; no engine behind it; "250 50": tokens, rate
proxy     gr.ChatInterface over the emulator through the openai client, one update a token
chat      gr.ChatInterface that paces itself, one update a word, as its documentation shows
sides-N   N gr.Chatbot over the emulator, fed by FastChat's loop; the box takes the prompts of the sides that are asked, "a | b"
empty     gr.Blocks with a text box: what starting costs at least
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator

import gradio as gr


async def paced(tokens: int, rate: float) -> AsyncIterator[int]:
    start_s = time.perf_counter()
    for n in range(tokens):
        await asyncio.sleep(max(0.0, start_s + n / rate - time.perf_counter()))
        yield n


def handler() -> gr.Blocks:
    async def answer(message: str, history: list) -> AsyncIterator[list]:
        text, shown_s = "", 0.0
        tokens, rate = map(int, message.split()) if message[:1].isdigit() else (500, 100)
        history = [*history, {"role": "user", "content": message}]
        async for n in paced(tokens, rate):
            text += f"token{n} "
            if time.perf_counter() - shown_s >= 0.05:
                shown_s = time.perf_counter()
                yield [*history, {"role": "assistant", "content": text}]
        yield [*history, {"role": "assistant", "content": text}]

    with gr.Blocks() as demo:
        chatbot, box = gr.Chatbot(), gr.Textbox()
        box.submit(answer, [box, chatbot], chatbot)
    return demo


def proxy(emulator: str) -> gr.ChatInterface:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(api_key="bench", base_url=f"{emulator}/compatible-mode/v1")

    async def answer(message: str, history: list) -> AsyncIterator[str]:
        text = ""
        messages = [{"role": "user", "content": message}]
        stream = await client.chat.completions.create(model="qwen3-next-80b-a3b-instruct", messages=messages, stream=True)
        async for chunk in stream:
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            if text:
                yield text

    return gr.ChatInterface(answer)


def chat() -> gr.ChatInterface:
    async def answer(message: str, history: list) -> AsyncIterator[str]:
        words, rate = (float(part) for part in message.split())
        text = ""
        async for n in paced(int(words), rate):
            text += f"word{n} "
            yield text
        yield f"{text}lastword@{time.time():.3f}"

    return gr.ChatInterface(answer)


def sides(count: int, emulator: str) -> gr.Blocks:
    """`bot_response_multi` of FastChat's serve/gradio_block_arena_named.py in a few lines: one sync generator that waits for the next
    piece of each side's blocking stream in turn, then yields all sides. Its votes, logs and moderation are left out."""
    from openai import OpenAI

    client = OpenAI(api_key="bench", base_url=f"{emulator}/compatible-mode/v1")

    def stream(prompt: str) -> Iterator[list]:
        text, messages = "", [{"role": "user", "content": prompt}]
        for chunk in client.chat.completions.create(model="qwen3-next-80b-a3b-instruct", messages=messages, stream=True):
            if chunk.choices and chunk.choices[0].delta.content:
                text += chunk.choices[0].delta.content
                yield [*messages, {"role": "assistant", "content": text}]

    def answer(prompts: str) -> Iterator[list[list]]:
        streams: list[Iterator[list]] = [stream(prompt.strip()) for prompt in prompts.split("|")]
        shown: list[list] = [[] for _ in range(count)]
        stop = False
        while not stop:
            stop = True
            for i, each in enumerate(streams):
                try:
                    shown[i] = next(each)
                    stop = False
                except StopIteration:
                    pass
            yield shown

    with gr.Blocks() as demo:
        with gr.Row():
            chatbots = [gr.Chatbot(elem_id=f"side-{n + 1}") for n in range(count)]
        box = gr.Textbox()
        box.submit(answer, box, chatbots)
    return demo


def empty() -> gr.Blocks:
    with gr.Blocks() as demo:
        gr.Textbox()
    return demo


if __name__ == "__main__":
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind.startswith("sides-"):
        made = sides(int(kind.removeprefix("sides-")), sys.argv[3])
    else:
        made = proxy(sys.argv[3]) if kind == "proxy" else {"handler": handler, "chat": chat, "empty": empty}[kind]()
    made.queue(default_concurrency_limit=64)
    made.launch(server_name="127.0.0.1", server_port=port, run_history=False, max_threads=100, quiet=True)
