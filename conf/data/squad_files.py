#!/usr/bin/env python3
"""Makes a corpus and a dataset from a SQuAD file (v1.1 or v2.0):

    python3 squad_files.py dev-v1.1.json DIRECTORY

paragraphs.jsonl has a paragraph per line, each once, and questions.jsonl the questions with their answers and the id
of the paragraph that holds them. Questions without an answer are left out.
"""

import json
import pathlib
import sys


def main(source, directory):
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    ids = {}
    with (
        open(source, encoding="utf-8") as file,
        open(directory / "paragraphs.jsonl", "w", encoding="utf-8") as paragraphs,
        open(directory / "questions.jsonl", "w", encoding="utf-8") as questions,
    ):
        for article in json.load(file)["data"]:
            for paragraph in article["paragraphs"]:
                text = paragraph["context"]
                if text not in ids:
                    ids[text] = f"p{len(ids):05}"
                    row = {"id": ids[text], "title": article["title"].replace("_", " "), "text": text}
                    print(json.dumps(row, ensure_ascii=False), file=paragraphs)
                for asked in paragraph["qas"]:
                    answers = sorted({answer["text"] for answer in asked["answers"]})
                    if answers:
                        row = {"id": asked["id"], "question": asked["question"], "answers": answers}
                        row["supporting"] = [ids[text]]
                        print(json.dumps(row, ensure_ascii=False), file=questions)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    main(sys.argv[1], sys.argv[2])
