"""The shapes of the parameters of ResNet-50 and of GPT-2 small."""

Shape = tuple[int, ...]


def resnet50() -> list[Shape]:
    """Return the shapes of ResNet-50's 161 parameters, 25.6 million elements."""

    def convolution(out: int, into: int, size: int) -> list[Shape]:
        return [(out, into, size, size), (out,), (out,)]  # two for batch normalisation

    shapes, into = convolution(64, 3, 7), 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += convolution(width, into, 1) + convolution(width, width, 3)
            shapes += convolution(4 * width, width, 1)
            if block == 0:
                shapes += convolution(4 * width, into, 1)
            into = 4 * width
    return [*shapes, (1000, into), (1000,)]


def gpt2() -> list[Shape]:
    """Return the shapes of GPT-2 small's 148 parameters, 124 million elements."""
    width = 768
    norm: list[Shape] = [(width,), (width,)]
    attention: list[Shape] = [(width, 3 * width), (3 * width,), (width, width), (width,)]
    network: list[Shape] = [(width, 4 * width), (4 * width,), (4 * width, width), (width,)]
    layer = norm + attention + norm + network
    return [(50257, width), (1024, width), *(layer * 12), *norm]
