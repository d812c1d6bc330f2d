// Loads a SavedModel as TF Serving's main.cc does, XLA turned off, and asks its serving_default with strings.
//
// loader SAVEDMODEL TEXT_OPS_LIBRARY... < LINES: one line per row, "input\ttext\ttext..." for each input; a text is
// written as it is. Prints for every output: its name, its type, and the first dimension.
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "tensorflow/c/c_api.h"
#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/compiler/jit/flags.h"
#include "tensorflow/core/framework/tensor.h"

namespace tf = tensorflow;

int Fail(const std::string& message) {
  std::cerr << message << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  tf::DisableXlaCompilation();
  TF_Status* status = TF_NewStatus();
  for (int i = 2; i < argc; ++i) {
    TF_LoadLibrary(argv[i], status);
    if (TF_GetCode(status) != TF_OK) return Fail(TF_Message(status));
  }
  tf::SavedModelBundle bundle;
  auto loaded = tf::LoadSavedModel({}, {}, argv[1], {"serve"}, &bundle);
  if (!loaded.ok()) return Fail(loaded.ToString());
  const auto& signature = bundle.GetSignatures().at("serving_default");
  std::vector<std::pair<std::string, tf::Tensor>> inputs;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream parts(line);
    std::string name;
    std::getline(parts, name, '\t');
    std::vector<std::string> texts;
    for (std::string text; std::getline(parts, text, '\t');) texts.push_back(text);
    tf::Tensor tensor(tf::DT_STRING, {static_cast<int64_t>(texts.size())});
    for (size_t i = 0; i < texts.size(); ++i) tensor.vec<tf::tstring>()(i) = texts[i];
    inputs.emplace_back(signature.inputs().at(name).name(), tensor);
  }
  std::vector<std::string> names, tensors;
  for (const auto& output : signature.outputs()) {
    names.push_back(output.first);
    tensors.push_back(output.second.name());
  }
  std::vector<tf::Tensor> outputs;
  auto ran = bundle.GetSession()->Run(inputs, tensors, {}, &outputs);
  if (!ran.ok()) return Fail(ran.ToString());
  for (size_t i = 0; i < outputs.size(); ++i) {
    std::cout << names[i] << '\t' << tf::DataTypeString(outputs[i].dtype()) << '\t' << outputs[i].dim_size(0) << '\t'
              << outputs[i].SummarizeValue(8) << std::endl;
  }
  return 0;
}
