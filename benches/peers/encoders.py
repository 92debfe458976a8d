"""Embeds the texts of a JSON file with sentence-transformers, on the processor.

    python encoders.py MODEL_DIRECTORY TEXTS.json RUNS

Prints the best rate in texts per second, and the vectors, as JSON.
"""

import json
import sys
import time

from sentence_transformers import SentenceTransformer


def main():
    directory, path, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(path) as file:
        texts = json.load(file)
    model = SentenceTransformer(directory, device="cpu")
    rate = 0.0
    for _ in range(runs):
        started = time.perf_counter()
        # 32 is its default; it sorts by length itself.
        vectors = model.encode(texts, batch_size=32, show_progress_bar=False)
        rate = max(rate, len(texts) / (time.perf_counter() - started))
    json.dump(dict(rate=rate, vectors=vectors.tolist()), sys.stdout)


if __name__ == "__main__":
    main()
