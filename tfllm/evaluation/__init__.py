"""Model and data -> scores as JSON values; baselines to hold them against; tables and model cards to show them."""

from tfllm.evaluation.baselines import baseline_scores
from tfllm.evaluation.classification import classification_scores, evaluate_classifier
from tfllm.evaluation.masked_lm import masked_lm_scores, pseudo_perplexity
from tfllm.evaluation.model_card import add_evaluation, model_card
from tfllm.evaluation.question_answering import answer_scores, evaluate_question_answering
from tfllm.evaluation.report import print_scores
from tfllm.evaluation.tagging import entity_scores, evaluate_tagger, word_scores

__all__ = [
    "add_evaluation",
    "answer_scores",
    "baseline_scores",
    "classification_scores",
    "entity_scores",
    "evaluate_classifier",
    "evaluate_question_answering",
    "evaluate_tagger",
    "masked_lm_scores",
    "model_card",
    "print_scores",
    "pseudo_perplexity",
    "word_scores",
]
