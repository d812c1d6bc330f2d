"""Published checkpoints: their files, the names of their tensors, and the models they become."""

from tfllm.models.pretrained.describe import Description, describe
from tfllm.models.pretrained.files import Folder, open_folder
from tfllm.models.pretrained.gguf_checkpoint import load_gguf
from tfllm.models.pretrained.gguf_file import open_gguf
from tfllm.models.pretrained.hub import fetch
from tfllm.models.pretrained.keras_hub_preset import load_keras_hub
from tfllm.models.pretrained.llama2c import load_llama2c
from tfllm.models.pretrained.load import ARCHITECTURES, Checkpoint, load_checkpoint
from tfllm.models.pretrained.sentences import encoder_folder, read_length
from tfllm.models.pretrained.tensorflow_bert import is_tensorflow_bert, load_tensorflow_bert

__all__ = [
    "ARCHITECTURES",
    "Checkpoint",
    "Description",
    "Folder",
    "describe",
    "encoder_folder",
    "fetch",
    "is_tensorflow_bert",
    "load_checkpoint",
    "load_gguf",
    "load_keras_hub",
    "load_llama2c",
    "load_tensorflow_bert",
    "open_folder",
    "open_gguf",
    "read_length",
]
