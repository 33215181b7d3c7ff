"""How each number of a report is measured, in a sentence or two.

A key is the label of a row. It holds for every label that begins with it.
"""

from __future__ import annotations

MEASURED = {
    "train steps": "Updates of the weights that the record holds.",
    "loss, first to last": "Loss of the first and the last train step; cross entropy is in nats.",
    "accuracy by epoch": "Share of the validation images whose largest logit is the label's. "
    "Each epoch ends with a validation; the last five are shown.",
    "best accuracy": "Highest validation accuracy of an epoch, the first where several are equal.",
    "train accuracy": "Share of right answers on training images without augmentation, after the "
    "training, on as many images as the validation split has.",
    "teacher accuracy": "Share of the validation images that the teacher answers right.",
    "train step, ms": "Wall time of a block of steps over its steps. A block lies between two full "
    "synchronisations. The median of the steady blocks has a 95 % interval from a bootstrap.",
    "validation step, ms": "Wall time of a validation pass over its steps; median of the epochs.",
    "train images per second": "Images of a batch over the median time of a train step.",
    "compile, s": "Wall time that OneFlow takes to compile the training and the validation graph. "
    "Eager mode compiles nothing.",
    "first step, ms": "Wall time of the first train step, after compiling.",
    "time to first step, s": "Sum of import, build, compile and first step.",
    "peak memory, MiB": "Largest resident set of the contender's process, as the kernel tells it.",
    "speedup, training": "Time of the baseline's train step over that of the contender. Fresh "
    "processes of both take turns block by block; the interval comes from their spread.",
    "speedup, validation": "Ratio of the validation times, epoch by epoch, in one process of each.",
    "smallest detectable difference": "A difference of this size would have been detected with a "
    "probability of 90 %.",
    "compilation pays for itself": "Compile time over the time that each step gains. The interval "
    "draws from the distributions of both.",
    "control": "Two sets of processes of the same program take the same turns. A ratio away from 1 "
    "shows the bias of the machine and the method.",
    "sequential interval": "99 % interval over all interim analyses and all contenders together. "
    "A verdict of faster or slower needs it to exclude 1.",
    "secondary estimate: mean": "The same ratio from the mean of all blocks.",
    "secondary estimate: processor": "The same ratio from processor seconds in place of wall time.",
    "secondary estimate: instructions": "The same ratio from retired instructions.",
    "each process is summarised by": "The summary with the smaller standard error is chosen.",
    "spread of identical processes": "Relative standard deviation of one program's processes.",
    "processes of each side": "Fresh processes of each side in the speed phase.",
    "interim analyses": "Times that the run looked at its data to decide whether it can stop.",
    "blocks": "Timed blocks of all three roles: baseline, contender and control.",
    "steps of a block": "Train steps between two synchronisations, chosen by the run.",
    "duration, s": "From the start of the speed phase to the end of its last block.",
    "warm-up steps": "Steps before a change point after which the times of a process are steady. "
    "They are not scored.",
    "energy of": "Energy of the processor package by its RAPL counter, over the scored steps.",
    "loader alone": "Time for a batch of the loader without any training.",
    "processor time of the controller": "Processor time of this program over the speed phase.",
    "same initial weights": "Digests of all weights before the first step are compared.",
    "same batches": "Digests of the images and labels of each block are compared.",
    "largest loss difference": "Largest absolute difference of the losses of a step.",
    "smallest loss difference": "Smallest absolute difference of the losses of a step.",
    "mean loss difference": "Mean absolute difference of the losses of a step.",
    "correlation of losses": "Pearson's correlation of both loss curves.",
    "correlation of accuracies": "Pearson's correlation of both accuracy curves, by epochs.",
    "accuracy difference": "Contender minus baseline after the last common epoch.",
    "parameter difference": "Of all weights after the epoch: the largest absolute difference, and "
    " the norm of the difference over the norm of the baseline's weights.",
}


def explain(label: str) -> str:
    """The explanation of a row; empty where the label says it all."""
    return next((text for key, text in MEASURED.items() if label.startswith(key)), "")
