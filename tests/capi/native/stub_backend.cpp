// In place of the OpenVINO backend, where sanitizers and valgrind are to see our own code and nothing else
// (-DSAMEDGE_STAND_IN=.../stub_backend.cpp).
//
// It reads every byte of its inputs and writes every byte of its outputs. An object is a disc around its first
// point, larger for a brighter frame; nothing is left to chance.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/failure.hpp"
#include "runtime/backend.hpp"

namespace samedge {

namespace {

// Sum over all bytes, from 0 to 1.
double level(const Tensor &tensor) {
  const auto *bytes = static_cast<const unsigned char *>(tensor.data);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < tensor.bytes(); ++i) sum += bytes[i];
  return tensor.bytes() == 0 ? 0.0 : static_cast<double>(sum) / (255.0 * static_cast<double>(tensor.bytes()));
}

const Tensor *find(const Bindings &bindings, const char *name) {
  for (const Binding &binding : bindings)
    if (std::strcmp(binding.name, name) == 0) return &binding.tensor;
  return nullptr;
}

void fill(const Tensor &tensor, double value) {
  if (tensor.element == Element::f32)
    std::fill_n(static_cast<float *>(tensor.data), tensor.shape.elements(), static_cast<float>(value));
  else
    std::memset(tensor.data, value > 0.5 ? 1 : 0, tensor.bytes());
}

class StubEngine final : public Engine {
 public:
  StubEngine(const GraphIO &io, int input_size) : io_(io), side_(input_size) {}

  RunTimes run(const Bindings &inputs, const Bindings &outputs) override {
    double seen = 0.0;
    for (const Binding &binding : inputs) seen += level(binding.tensor);
    if (const Tensor *frame = find(inputs, "frame"); frame != nullptr) seen = level(*frame);
    for (const Binding &binding : outputs) fill(binding.tensor, seen / static_cast<double>(inputs.size() + 1));
    const Tensor *coords = find(inputs, "point_coords"), *masks = find(outputs, "masks");
    const Tensor *embedding = find(inputs, "image_embedding");
    if (coords != nullptr && masks != nullptr && embedding != nullptr)
      discs(*coords, static_cast<const float *>(embedding->data)[0], *masks);
    return RunTimes{0.0, 0.0, 1.0, 0.0};
  }

  Tensor buffer(const char *name) override {
    const TensorSpec *spec = io_.output(name);
    if (spec == nullptr) fail(SAMEDGE_ERROR_BUNDLE, "no output %s", name);
    std::vector<float> &memory = buffers_[name];
    memory.resize(spec->shape.elements());
    return Tensor{memory.data(), spec->element, spec->shape, Memory::host};
  }

 private:
  void discs(const Tensor &coords, float brightness, const Tensor &masks) const {
    const auto *points = static_cast<const float *>(coords.data);
    auto *target = static_cast<std::uint8_t *>(masks.data);
    const std::int64_t objects = masks.shape[0], each = masks.shape[1];
    const std::int64_t height = masks.shape[2], width = masks.shape[3], tokens = coords.shape[1];
    const float radius = (0.1F + 0.3F * brightness) * static_cast<float>(std::min(height, width));
    for (std::int64_t n = 0; n < objects; ++n) {
      // A mask alone comes without tokens.
      const float x = tokens == 0 ? 0.5F : points[n * tokens * 2] / static_cast<float>(side_);
      const float y = tokens == 0 ? 0.5F : points[n * tokens * 2 + 1] / static_cast<float>(side_);
      const float x0 = x * static_cast<float>(width), y0 = y * static_cast<float>(height);
      for (std::int64_t k = 0; k < each; ++k)
        for (std::int64_t row = 0; row < height; ++row)
          for (std::int64_t column = 0; column < width; ++column) {
            const float dx = static_cast<float>(column) - x0, dy = static_cast<float>(row) - y0;
            *target++ = std::hypot(dx, dy) < radius + static_cast<float>(k) ? 1 : 0;
          }
    }
  }

  const GraphIO &io_;
  int side_;
  std::map<std::string, std::vector<float>> buffers_;
};

class StubEngines final : public Engines {
 public:
  StubEngines(const GraphIO &encoder, const GraphIO &decoder, int input_size)
      : encoder_(encoder, input_size), decoder_(decoder, input_size) {}
  Engine &encoder() override { return encoder_; }
  Engine &decoder() override { return decoder_; }

 private:
  StubEngine encoder_, decoder_;
};

class StubModel final : public LoadedModel {
 public:
  StubModel(const Bundle &bundle, const GraphEntry &encoder, const GraphEntry &decoder)
      : encoder_(encoder.io), decoder_(decoder.io), input_size_(bundle.manifest().variant.input_size) {
    for (const GraphEntry *graph : {&encoder, &decoder}) static_cast<void>(bundle.read(graph->file));
  }
  std::unique_ptr<Engines> open() override {
    return std::make_unique<StubEngines>(encoder_, decoder_, input_size_);
  }
  std::string device_name() const override { return "a stand-in"; }

 private:
  GraphIO encoder_, decoder_;
  int input_size_;
};

class StubBackend final : public Backend {
 public:
  const char *name() const noexcept override { return "openvino"; }
  std::int32_t number() const noexcept override { return SAMEDGE_BACKEND_OPENVINO; }
  std::optional<std::string> unavailable() const override { return {}; }
  std::vector<Precision> precisions() const override { return {Precision::fp32}; }
  std::shared_ptr<LoadedModel> load(const Bundle &bundle, const LoadOptions &) const override {
    const GraphEntry *encoder = bundle.manifest().graph("encoder", "fp32");
    const GraphEntry *decoder = bundle.manifest().graph("decoder", "fp32");
    if (encoder == nullptr || decoder == nullptr) fail(SAMEDGE_ERROR_NOT_SUPPORTED, "fp32 graphs only");
    return std::make_shared<StubModel>(bundle, *encoder, *decoder);
  }
};

}  // namespace

const Backend *openvino_backend() {
  static const StubBackend backend;
  return &backend;
}

}  // namespace samedge
