// What the page says, in English and Chinese.
import { keep, read } from "./kept.js";

const WORDS = {
  en: {
    model: "Model", language: "Language", ask: "Ask", stop: "Stop", clear: "Clear", token: "Token", use: "Use it",
    notice: "A server for trying and testing. For production use TensorFlow Serving: the same directories.",
    none: "There is no model yet. Export one into the directory that is served; it is found while the server runs.",
    unreachable: "The server cannot be reached.", refused: "The server wants a token.", asking: "Asking …",
    busy: "The server is busy. Ask again in a moment.", version: "version", text: "Text", text_pair: "Second text",
    question: "Question", context: "Context", choices: "Choices, one a line", keys: "Ctrl + Enter asks.",
    no_answer: "The context has no answer.", no_entities: "Nothing was found in the text.",
    no_labels: "No label is probable enough.", no_gaps: "Write [MASK] where a word is missing.", filled: "Filled in",
    gap: "Gap", score: "Score", similarity: "Similarity", follows: "The second text follows the first",
    max_new_tokens: "Tokens at most", temperature: "Temperature", seed: "Seed", tokens: "tokens",
    finish_stop: "ended by itself", finish_length: "cut at the limit", vector: "numbers", embedding: "Vectors",
    classification: "One label", multilabel: "Several labels", regression: "A score", tagging: "Entities or words",
    question_answering: "Answers from a context", multiple_choice: "One of several choices", fill_mask: "Missing words",
    next_sentence: "Does the second follow?", generation: "Writing", seq2seq: "From text to text", chat: "Conversation",
    message: "Message", user: "You", assistant: "Model", system: "System", probability: "Probability",
  },
  zh: {
    model: "模型", language: "语言", ask: "提问", stop: "停止", clear: "清空", token: "令牌", use: "使用",
    notice: "此服务器用于试用和测试。生产环境请用 TensorFlow Serving，目录相同。",
    none: "还没有模型。请把模型导出到所服务的目录，服务器运行时会自动发现。",
    unreachable: "无法连接服务器。", refused: "服务器需要令牌。", asking: "正在处理……",
    busy: "服务器繁忙，请稍后再试。", version: "版本", text: "文本", text_pair: "第二段文本",
    question: "问题", context: "上下文", choices: "选项，每行一个", keys: "按 Ctrl + Enter 提问。",
    no_answer: "上下文中没有答案。", no_entities: "文本中没有找到任何内容。",
    no_labels: "没有足够可能的标签。", no_gaps: "请在缺词处写 [MASK]。", filled: "填好的文本",
    gap: "空缺", score: "分数", similarity: "相似度", follows: "第二段文本接在第一段之后",
    max_new_tokens: "最多词元数", temperature: "温度", seed: "随机种子", tokens: "个词元",
    finish_stop: "自然结束", finish_length: "达到上限", vector: "个数", embedding: "向量",
    classification: "分类", multilabel: "多标签分类", regression: "评分", tagging: "实体或词性",
    question_answering: "从上下文中回答", multiple_choice: "多项选择", fill_mask: "填词",
    next_sentence: "是否为下一句", generation: "写作", seq2seq: "文本到文本", chat: "对话",
    message: "消息", user: "你", assistant: "模型", system: "系统", probability: "概率",
  },
};
const KEPT = "tfllm-language";

let language = read("localStorage", KEPT) ?? (/^zh\b/i.test(navigator.language) ? "zh" : "en");

export function currentLanguage() {
  return language;
}

export function setLanguage(name) {
  language = name;
  keep("localStorage", KEPT, name);
}

/** A word in the page's language; a name that the page does not know stays as it is. */
export function word(name) {
  return WORDS[language][name] ?? name;
}

/** Fill in every element with data-word. */
export function translate(root) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
}
