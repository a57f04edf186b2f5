"""Baselines, each as little as Gradio needs: `python tests/bench/bare.py KIND PORT [EMULATOR]`.

handler   gr.Chatbot fed by an async generator that paces itself, 20 updates a second; no engine behind it
proxy     gr.ChatInterface over the emulator through the openai client, one update a token
chat      gr.ChatInterface that paces itself, one update a word, as its documentation shows
empty     gr.Blocks with a text box: what starting costs at least
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import gradio as gr


async def paced(tokens: int, rate: float) -> AsyncIterator[int]:
    start_s = time.perf_counter()
    for n in range(tokens):
        await asyncio.sleep(max(0.0, start_s + n / rate - time.perf_counter()))
        yield n


def handler() -> gr.Blocks:
    async def answer(message: str, history: list) -> AsyncIterator[list]:
        text, shown_s = "", 0.0
        history = [*history, {"role": "user", "content": message}]
        async for n in paced(500, 100.0):
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


def empty() -> gr.Blocks:
    with gr.Blocks() as demo:
        gr.Textbox()
    return demo


if __name__ == "__main__":
    kind, port = sys.argv[1], int(sys.argv[2])
    made = proxy(sys.argv[3]) if kind == "proxy" else {"handler": handler, "chat": chat, "empty": empty}[kind]()
    made.queue(default_concurrency_limit=64)
    made.launch(server_name="127.0.0.1", server_port=port, run_history=False, max_threads=100, quiet=True)
