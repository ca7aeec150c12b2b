"""A real captioning model, only tiny: BLIP with a vocabulary of a few words, taught two pictures, saved as such models are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[DEC]",
    "a",
    "wall",
    "street",
    "dog",
    "sea",
    "red",
    "blue",
    "at",
    "in",
)
RED, BLUE = (np.full((48, 64, 3), colour, np.uint8) for colour in ((220, 30, 30), (30, 30, 220)))
TAUGHT = ((RED, "a red wall"), (BLUE, "a blue sea"))
STEPS = 60


def save_tiny_blip(folder: Path, steps: int = STEPS) -> Path:
    """About 40,000 weights that tell a red picture from a blue one; without `steps` they are random."""
    import torch
    import transformers

    tokenizer = transformers.BertTokenizerFast(
        vocab={word: number for number, word in enumerate(WORDS)}, bos_token="[DEC]"
    )
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BlipConfig(
        vision_config=size | {"image_size": 32, "patch_size": 16},
        text_config=size
        | {"vocab_size": len(WORDS), "encoder_hidden_size": 32, "max_position_embeddings": 80}
        | {"bos_token_id": 5, "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3},
        projection_dim=16,
        image_text_hidden_size=16,
    )
    torch.manual_seed(0)
    model = transformers.BlipForConditionalGeneration(config)
    processor = transformers.BlipProcessor(transformers.BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer)
    _teach(model, processor, steps)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _teach(model, processor, steps: int) -> None:
    import torch
    from PIL import Image

    pictures = processor(images=[Image.fromarray(rgb) for rgb, _ in TAUGHT], return_tensors="pt")["pixel_values"]
    words = [[5, *(WORDS.index(word) for word in text.split()), 3] for _, text in TAUGHT]
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(steps):
        loss = model(pixel_values=pictures, input_ids=torch.tensor(words), labels=torch.tensor(words)).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
