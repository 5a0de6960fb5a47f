"""The five documents that the book started from: each of their commands has its row on the page.

The documents do not travel with the book. Where they lie beside it, the commands below are held
against them, so that none is left out.
"""

import re

import pytest
import yaml
from helpers import ROOT, SHARED

DOCUMENTS = SHARED / "seeds"
ROWS = yaml.safe_load((ROOT / "book" / "commands.yaml").read_text(encoding="utf-8"))["rows"]
# What the documents' blocks of code have a user give; white space does not count
GIVEN = (
    "python validate.py --model convmixer_1536_20 --b 64 --num-classes 1000 "
    "--checkpoint [/path/to/convmixer_1536_20_ks9_p7.pth.tar] [/path/to/ImageNet1k-val]",
    "sh distributed_train.sh 10 [/path/to/ImageNet1k] --train-split [your_train_dir] "
    "--val-split [your_val_dir] --model convmixer_1536_20 -b 64 -j 10 --opt adamw --epochs 150 "
    "--sched onecycle --amp --input-size 3 224 224 --lr 0.01 --aa rand-m9-mstd0.5-inc1 "
    "--cutmix 0.5 --mixup 0.5 --reprob 0.25 --remode pixel --num-classes 1000 --warmup-epochs 0 "
    "--opt-eps=1e-3 --clip-grad 1.0",
    "ConvMixer(h,d,k,p,n)",
    "mpirun -n 8 python train.py --config configs/convmixer/convmixer_768_32.yaml "
    "--data_dir /path/to/imagenet --distributed True",
    "python train.py --config configs/convmixer/convmixer_768_32.yaml "
    "--data_dir /path/to/dataset --distribute False",
    "python validate.py -c configs/convmixer/convmixer_768_32.yaml "
    "--data_dir /path/to/imagenet --ckpt_path /path/to/ckpt",
    "SplitMixerI(dim, blocks, kernel_size=5, patch_size=2, n_classes=10, ratio=2/3)",
    "cifar-10-batches-py",
    "python train.py --finetune True --model Mixer_B_16 --data_url ./data/",
    "python train.py --finetune False --model Mixer_B_16 --data_url ./data/",
    "python eval.py --finetune True --model Mixer_B_16 --data_url ./data/",
    "python eval.py --finetune False --model Mixer_B_16 --data_url ./data/",
)
MIXERS = ("B_16", "B_32", "S_16", "S_32", "S_8")
# What they say in words or link → how a row has it
SAID = {
    "300 epochs instead of 150": "--epochs 300",
    "built-in cosine schedule": "--sched cosine",
    "--scale 0.75 1.0": "--scale 0.75 1.0",
    "locuslab/convmixer-cifar10": "convmixer-cifar10",
    "convmixer_1536_20_ks9_p7.pth.tar)": "convmixer_1536_20_ks9_p7.pth.tar",
    "convmixer_768_32_ks7_p7_relu.pth.tar)": "convmixer_768_32_ks7_p7_relu.pth.tar",
    "convmixer_1024_20_ks9_p14.pth.tar)": "convmixer_1024_20_ks9_p14.pth.tar",
    "ConvMixer is now integrated into": "ConvMixer is a model of timm's",
    "SplitMixer is integrated into": "SplitMixer is said to be a model of timm's",
    "Download": "The column Download of the table",
    "deployment tutorial": "a tutorial on MindSpore's own serving",
    "AdamW as the optimizer": "AdamW",
    "Model throughput": "throughput.py",
    **{f"gsam_Mixer-{size}.ckpt": f"gsam_Mixer-{size}.ckpt" for size in MIXERS},
}
# Blocks that define what another one calls, and give no command
DEFINITIONS = ("class ChannelMixerI",)


def close(text: str) -> str:
    return "".join(text.split())


def left_out(rows: dict[str, dict]) -> list[str]:
    """The commands of the documents that no row has."""
    theirs = [close(row["theirs"]) for row in rows.values()]
    wanted = (*GIVEN, *SAID.values())
    return [words for words in wanted if not any(close(words) in text for text in theirs)]


def test_every_command_of_the_documents_is_there():
    assert left_out(ROWS) == []


@pytest.mark.parametrize("name", ["mindcv-distributed", "train-cosine", "mixer-files"])
def test_a_row_that_is_left_out_is_missed(name):
    assert left_out({key: row for key, row in ROWS.items() if key != name}) != []


@pytest.mark.skipif(not DOCUMENTS.is_dir(), reason="the five documents are not here")
def test_these_are_the_commands_of_the_documents():
    texts = [path.read_text(encoding="utf-8") for path in sorted(DOCUMENTS.glob("*.txt"))]
    blocks = [close(block) for text in texts for block in re.findall(r"```(.*?)```", text, re.S)]
    given = [*map(close, GIVEN)]
    assert len(texts) == 5
    assert [words for words in given if not any(words in block for block in blocks)] == []
    known = [*given, *map(close, DEFINITIONS)]
    assert [block for block in blocks if not any(words in block for words in known)] == []
    assert [words for words in SAID if not any(words in text for text in texts)] == []
