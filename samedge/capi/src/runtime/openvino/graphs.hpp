// Graphs of a bundle as OpenVINO models, brought into the form that a session compiles:
// samedge/runtime/openvino/{compile,weights}.py. The rewrites that make an encoder fast
// (samedge/runtime/openvino/rewrites) are in engines of `samedge build --target openvino`, which come
// through `prepared` here; they are expressed once, in Python.
#pragma once

#include <memory>
#include <openvino/openvino.hpp>

#include "runtime/backend.hpp"

namespace samedge {

// What a session compiles. preprocess: frame -> network input; encoder: network input -> embedding.
struct ModelParts {
  std::shared_ptr<ov::Model> preprocess, encoder, decoder;
};

// A graph as a bundle has it, computed in float32 (and in int8 where it is quantised).
// Throws Failure(BUNDLE, MEMORY): OpenVINO cannot read it.
std::shared_ptr<ov::Model> read_graph(const Bundle &bundle, Graph graph, const GraphEntry &entry);

// Cut the encoder's graph at the tensor `network_input`. The model is used up.
// Throws Failure(BUNDLE): it has no such tensor, or its shape is not fixed.
void split_encoder(const std::shared_ptr<ov::Model> &model, ModelParts &parts);

// Store a model's large float32 constants in the type that will be computed in: bf16 or fp16.
void halve_weights(const std::shared_ptr<ov::Model> &model, Precision precision);

// Say of weights that are stored in 16 bits that they are to be widened in the kernel: this mark is lost
// in a file.
void mark_decompression(const std::shared_ptr<ov::Model> &model);

}  // namespace samedge
