#!/usr/bin/env python3
"""Compares the embeddings of a running server with those of sentence-transformers.

    pip install sentence-transformers requests
    verbatim serve --model DIR --weights f32 --kv f32 &
    python3 tests/clients/embeddings_reference.py DIR [http://127.0.0.1:8080]

DIR is a model that has sentence-transformers' files, such as Qwen3-Embedding-0.6B. Every number must be within 1e-3
of the reference, in f32 on the CPU, and so must every cosine. With weights in bf16 only the cosines are near.
"""

import base64
import sys

import numpy as np
import requests
from sentence_transformers import SentenceTransformer

TEXTS = [
    "The capital of France is Paris.",
    "What is the capital of France?",
    "Gravity attracts bodies towards each other.",
    "a",
    "Größe, naïveté, 漢字 and 🙂",
    "Once upon a time there was a little engine. " * 40,
]
TOLERANCE = 1e-3


def served(url: str, texts: list, encoding: str) -> np.ndarray:
    answer = requests.post(f"{url}/v1/embeddings", json={"input": texts, "encoding_format": encoding}, timeout=600)
    answer.raise_for_status()
    entries = [entry["embedding"] for entry in answer.json()["data"]]
    if encoding == "base64":
        entries = [np.frombuffer(base64.b64decode(entry), dtype="<f4") for entry in entries]
    return np.array(entries, dtype=np.float32)


def main() -> int:
    directory = sys.argv[1]
    url = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080"
    reference = SentenceTransformer(directory, device="cpu", model_kwargs={"torch_dtype": "float32"})
    expected = reference.encode(TEXTS, convert_to_numpy=True)
    found = served(url, TEXTS, "float")
    if not np.array_equal(found, served(url, TEXTS, "base64")):
        print("float and base64 differ")
        return 1
    alone = np.concatenate([served(url, [text], "float") for text in TEXTS])
    if not np.array_equal(found, alone):
        print("a text alone and beside others differs")
        return 1
    difference = np.abs(found - expected).max()
    print(f"largest difference: {difference:.2e}")
    cosines = np.abs(found @ found.T - expected @ expected.T).max()
    print(f"largest difference of a product: {cosines:.2e}")
    return 0 if difference <= TOLERANCE and cosines <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
