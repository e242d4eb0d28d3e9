#include "runtime/openvino/graphs.hpp"

#include <cmath>
#include <cstring>
#include <memory>
#include <openvino/op/constant.hpp>
#include <openvino/op/convert.hpp>
#include <openvino/op/parameter.hpp>
#include <openvino/op/result.hpp>
#include <string>
#include <vector>

#include "base/failure.hpp"
#include "bundle/graph_copy.hpp"
#include "runtime/openvino/core.hpp"

namespace samedge {

namespace {

constexpr const char *kNetworkInput = "network_input";
constexpr std::size_t kMinValues = std::size_t{1} << 16;  // matrices and kernels; tables stay as they are
// OpenVINO's own mark for "decompress in the kernel, do not fold into float32".
constexpr const char *kMark = "decompression_0";

using Constant = ov::op::v0::Constant;
using Convert = ov::op::v0::Convert;

void replace(const ov::Output<ov::Node> &old, const ov::Output<ov::Node> &now) {
  const auto targets = old.get_target_inputs();  // a copy: the set changes below
  for (ov::Input<ov::Node> target : targets) target.replace_source_output(now);
}

std::shared_ptr<Convert> convert_to(const std::shared_ptr<ov::Node> &node, const ov::element::Type &type) {
  auto convert = ov::as_type_ptr<Convert>(node);
  return convert != nullptr && convert->get_destination_type() == type ? convert : nullptr;
}

bool widen_constants(const std::shared_ptr<ov::Model> &model) {
  bool changed = false;
  for (const auto &node : model->get_ordered_ops()) {
    const auto constant = ov::as_type_ptr<Constant>(node);
    if (constant == nullptr || constant->get_element_type() != ov::element::f16) continue;
    ov::Tensor wide(ov::element::f32, constant->get_shape());
    const auto *from = constant->get_data_ptr<ov::float16>();
    auto *to = wide.data<float>();
    for (std::size_t i = 0; i < wide.get_size(); ++i) to[i] = static_cast<float>(from[i]);
    const auto made = std::make_shared<Constant>(wide);
    made->set_friendly_name(constant->get_friendly_name());
    replace(constant->output(0), made->output(0));
    changed = true;
  }
  return changed;
}

// Take out conversions of float32 to float32, but for those that name an output.
void drop_idle_converts(const std::shared_ptr<ov::Model> &model) {
  for (const auto &node : model->get_ordered_ops()) {
    if (convert_to(node, ov::element::f32) == nullptr) continue;
    const ov::Output<ov::Node> source = node->input_value(0);
    if (source.get_element_type() != ov::element::f32) continue;
    const auto targets = node->output(0).get_target_inputs();
    for (ov::Input<ov::Node> target : targets)
      if (!ov::is_type<ov::op::v0::Result>(target.get_node())) target.replace_source_output(source);
  }
}

// Let a model compute in float32 whatever its graph is typed in: to_float32 of weights.py.
void to_float32(const std::shared_ptr<ov::Model> &model) {
  bool changed = widen_constants(model);
  for (const auto &node : model->get_ordered_ops()) {
    if (convert_to(node, ov::element::f16) == nullptr) continue;
    const auto wide = std::make_shared<Convert>(node->input_value(0), ov::element::f32);
    wide->set_friendly_name(node->get_friendly_name());
    const auto names = node->output(0).get_names();
    replace(node->output(0), wide->output(0));
    wide->output(0).get_tensor().add_names(names);
    changed = true;
  }
  if (!changed) return;
  model->validate_nodes_and_infer_types();
  drop_idle_converts(model);
}

// The bits of the nearest bfloat16, ties to even.
std::uint16_t to_bfloat16(float value) noexcept {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U);
}

// A tensor with its own memory, which a constant then shares.
ov::Tensor stored(const Constant &constant, Precision precision) {
  const float *from = constant.get_data_ptr<float>();
  if (precision == Precision::fp16) {
    ov::Tensor tensor(ov::element::f16, constant.get_shape());
    auto *to = tensor.data<ov::float16>();
    for (std::size_t i = 0; i < tensor.get_size(); ++i) to[i] = ov::float16(from[i]);
    return tensor;
  }
  ov::Tensor tensor(ov::element::bf16, constant.get_shape());
  auto *to = static_cast<std::uint16_t *>(tensor.data());
  for (std::size_t i = 0; i < tensor.get_size(); ++i) to[i] = to_bfloat16(from[i]);
  return tensor;
}

// Whether all values have a place in float16.
bool within_float16(const Constant &constant) {
  const float *values = constant.get_data_ptr<float>();
  const std::size_t count = ov::shape_size(constant.get_shape());
  for (std::size_t i = 0; i < count; ++i)
    if (!(std::fabs(values[i]) <= 65504.0F)) return false;
  return true;
}

}  // namespace

std::shared_ptr<ov::Model> read_graph(const Bundle &bundle, Graph graph, const GraphEntry &entry) {
  std::string data;
  std::unique_ptr<GraphCopy> copy;  // of graphs whose large weights are in a second file
  {
    const GraphFiles files = bundle.read_graph(entry);
    if (files.weights_name.empty())
      data.assign(reinterpret_cast<const char *>(files.graph.data.get()), files.graph.size);
    else
      copy = std::make_unique<GraphCopy>(files);
  }
  try {
    auto model = copy == nullptr ? openvino_core().read_model(data, ov::Tensor())
                                 : openvino_core().read_model(copy->path());
    to_float32(model);
    return model;
  } catch (const std::exception &error) {
    openvino_failed(error, SAMEDGE_ERROR_BUNDLE,
                    text("reading the %s graph; export the bundle again with this "
                         "version of samedge",
                         name_of(graph))
                        .c_str());
  }
}

void split_encoder(const std::shared_ptr<ov::Model> &model, ModelParts &parts) {
  ov::Output<ov::Node> cut;
  for (const auto &node : model->get_ordered_ops()) {
    for (const ov::Output<ov::Node> &output : node->outputs())
      if (cut.get_node() == nullptr && output.get_names().count(kNetworkInput) != 0) cut = output;
    if (cut.get_node() != nullptr) break;
  }
  if (cut.get_node() == nullptr || cut.get_partial_shape().is_dynamic())
    fail(SAMEDGE_ERROR_BUNDLE,
         "the encoder graph has no tensor '%s' of fixed shape; export the bundle again "
         "with this version of samedge",
         kNetworkInput);
  const ov::ResultVector results = model->get_results();
  const ov::ParameterVector parameters = model->get_parameters();
  const auto entry = std::make_shared<ov::op::v0::Parameter>(cut.get_element_type(), cut.get_shape());
  entry->set_friendly_name(kNetworkInput);
  replace(cut, entry->output(0));
  parts.encoder = std::make_shared<ov::Model>(results, ov::ParameterVector{entry}, "encoder");
  parts.preprocess = std::make_shared<ov::Model>(ov::ResultVector{std::make_shared<ov::op::v0::Result>(cut)},
                                                 parameters, "preprocess");
  parts.encoder->input(0).get_tensor().set_names({kNetworkInput});
}

void halve_weights(const std::shared_ptr<ov::Model> &model, Precision precision) {
  for (const auto &node : model->get_ordered_ops()) {
    const auto constant = ov::as_type_ptr<Constant>(node);
    if (constant == nullptr || constant->get_element_type() != ov::element::f32) continue;
    const ov::Shape shape = constant->get_shape();
    if (shape.size() < 2 || ov::shape_size(shape) < kMinValues) continue;
    if (precision == Precision::fp16 && !within_float16(*constant)) continue;
    const auto narrow = std::make_shared<Constant>(stored(*constant, precision));
    narrow->set_friendly_name(constant->get_friendly_name());
    const auto wide = std::make_shared<Convert>(narrow, ov::element::f32);
    wide->get_rt_info()[kMark] = std::string();
    replace(constant->output(0), wide->output(0));
  }
}

void mark_decompression(const std::shared_ptr<ov::Model> &model) {
  for (const auto &node : model->get_ordered_ops()) {
    const auto convert = convert_to(node, ov::element::f32);
    if (convert == nullptr) continue;
    const auto constant = ov::as_type_ptr<Constant>(convert->get_input_node_shared_ptr(0));
    if (constant == nullptr) continue;
    const ov::element::Type type = constant->get_element_type();
    if (type == ov::element::bf16 || type == ov::element::f16) convert->get_rt_info()[kMark] = std::string();
  }
}

}  // namespace samedge
