"""`python -m tfllm` is `tfllm`."""

from tfllm.cli import main

main()
