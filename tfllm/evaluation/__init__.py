"""Model and data -> scores as JSON values; baselines to hold them against; tables and model cards to show them."""

from tfllm.evaluation.baselines import baseline_scores
from tfllm.evaluation.causal_lm import causal_lm_scores, evaluate_causal_lm
from tfllm.evaluation.classification import classification_scores, evaluate_classifier
from tfllm.evaluation.embedding import evaluate_embedding, retrieval_scores, similarity_scores
from tfllm.evaluation.masked_lm import masked_lm_scores, pseudo_perplexity
from tfllm.evaluation.model_card import add_evaluation, model_card
from tfllm.evaluation.multilabel import choose_thresholds, evaluate_multilabel, multilabel_scores
from tfllm.evaluation.multiple_choice import evaluate_multiple_choice
from tfllm.evaluation.next_sentence import evaluate_next_sentence
from tfllm.evaluation.question_answering import answer_scores, evaluate_question_answering
from tfllm.evaluation.regression import evaluate_regression, regression_scores
from tfllm.evaluation.report import print_scores
from tfllm.evaluation.seq2seq import evaluate_seq2seq, seq2seq_loss, text_scores
from tfllm.evaluation.tagging import entity_scores, evaluate_tagger, word_scores

__all__ = [
    "add_evaluation",
    "answer_scores",
    "baseline_scores",
    "causal_lm_scores",
    "choose_thresholds",
    "classification_scores",
    "entity_scores",
    "evaluate_causal_lm",
    "evaluate_classifier",
    "evaluate_embedding",
    "evaluate_multilabel",
    "evaluate_multiple_choice",
    "evaluate_next_sentence",
    "evaluate_question_answering",
    "evaluate_regression",
    "evaluate_seq2seq",
    "evaluate_tagger",
    "masked_lm_scores",
    "model_card",
    "multilabel_scores",
    "print_scores",
    "pseudo_perplexity",
    "regression_scores",
    "retrieval_scores",
    "seq2seq_loss",
    "similarity_scores",
    "text_scores",
    "word_scores",
]
