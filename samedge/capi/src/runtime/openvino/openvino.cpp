// The CPU, by OpenVINO: samedge/runtime/openvino/backend.py.
#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "base/failure.hpp"
#include "base/log.hpp"
#include "runtime/choice.hpp"
#include "runtime/engines/ready.hpp"
#include "runtime/openvino/core.hpp"
#include "runtime/openvino/engine.hpp"
#include "runtime/openvino/engine_file.hpp"
#include "runtime/openvino/graphs.hpp"

namespace samedge {

namespace {

constexpr const char *kSaturates =
    "this processor has no VNNI, so sums of INT8 products can saturate and masks be worse than the bundle's "
    "gate "
    "says";

// Flags of the processor, as Linux has them.
const std::set<std::string> &cpu_flags() {
  static const std::set<std::string> flags = [] {
    std::set<std::string> found;
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
      if (line.rfind("flags", 0) != 0 && line.rfind("Features", 0) != 0) continue;
      std::istringstream words(line.substr(line.find(':') + 1));
      for (std::string word; words >> word;) found.insert(word);
      break;
    }
    return found;
  }();
  return flags;
}

constexpr bool is_x86() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  return true;
#else
  return false;
#endif
}

std::string stripped(const std::string &text) {
  const auto first = text.find_first_not_of(" \t\n"), last = text.find_last_not_of(" \t\n");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

std::string cpu_name() {
  return stripped(openvino_core().get_property(kCpu, "FULL_DEVICE_NAME").as<std::string>());
}

std::string lies_there(const EngineStore &store, const std::vector<std::string> &reasons) {
  std::string all;
  for (const std::string &reason : reasons) all += (all.empty() ? "" : "; ") + reason;
  const std::string listed = store.listed();
  return !all.empty() ? all : "it holds " + (listed.empty() ? "none" : listed);
}

class OpenVinoEngines final : public Engines {
 public:
  OpenVinoEngines(const std::vector<CompiledPart> &encoder, const GraphIO &encoder_io,
                  const std::vector<CompiledPart> &decoder, const GraphIO &decoder_io)
      : encoder_(encoder, encoder_io), decoder_(decoder, decoder_io) {}

  Engine &encoder() override { return encoder_; }
  Engine &decoder() override { return decoder_; }

 private:
  OpenVinoEngine encoder_, decoder_;
};

class OpenVinoModel final : public LoadedModel {
 public:
  OpenVinoModel(ModelParts parts, Precision computes, const LoadOptions &options, GraphIO encoder,
                GraphIO decoder, std::vector<std::string> notes)
      : encoder_io_(std::move(encoder)), decoder_io_(std::move(decoder)), notes_(std::move(notes)) {
    const auto compiled = [&](std::shared_ptr<ov::Model> &model, Precision precision, const char *name) {
      return CompiledPart{compile_part(std::move(model), precision, options, name), name};
    };
    // Sums of the pre-processing are exact integers, which 16 bits would destroy.
    encoder_.push_back(compiled(parts.preprocess, Precision::fp32, "preprocess"));
    encoder_.push_back(compiled(parts.encoder, computes, "encoder"));
    decoder_.push_back(compiled(parts.decoder, Precision::fp32, "decoder"));
  }

  std::unique_ptr<Engines> open() override {
    return std::make_unique<OpenVinoEngines>(encoder_, encoder_io_, decoder_, decoder_io_);
  }
  std::string device_name() const override { return cpu_name(); }
  std::vector<std::string> notes() const override { return notes_; }

 private:
  std::vector<CompiledPart> encoder_, decoder_;
  GraphIO encoder_io_, decoder_io_;
  std::vector<std::string> notes_;
};

class OpenVinoBackend final : public Backend {
 public:
  const char *name() const noexcept override { return "openvino"; }
  std::int32_t number() const noexcept override { return SAMEDGE_BACKEND_OPENVINO; }

  std::optional<std::string> unavailable() const override {
    try {
      static_cast<void>(cpu_name());
      return {};
    } catch (const std::exception &error) {
      return "OpenVINO finds no CPU device (" + shown(error.what()) +
             "); put libopenvino_intel_cpu_plugin.so (on ARM: libopenvino_arm_cpu_plugin.so) beside "
             "libopenvino.so";
    }
  }

  std::vector<Precision> precisions() const override {
    std::vector<Precision> found;
    for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp16, Precision::int8})
      if (is_native(precision)) found.push_back(precision);
    return found;
  }

  // OpenVINO computes what it is told from either graph; float32 has the exact weights.
  std::vector<std::string> graphs(Precision precision, Graph graph) const override {
    if (precision == Precision::int8 && graph == Graph::encoder) return {"int8"};
    return {"fp32", "fp16"};
  }

  // x86 has float16 vectors, but no matrix units for it before AMX-FP16.
  bool slower_than_float32(Precision precision) const override {
    return precision == Precision::fp16 && is_x86() && cpu_flags().count("amx_fp16") == 0;
  }

  // INT8 on x86 without VNNI: pairs of products are added in 16 bits there, and saturate.
  std::optional<std::string> doubtful(Precision precision) const override {
    if (precision != Precision::int8 || !is_x86()) return {};
    for (const char *flag : {"avx512_vnni", "avx_vnni", "amx_int8"})
      if (cpu_flags().count(flag) != 0) return {};
    return kSaturates;
  }

  // Of the engine that would be loaded: the gate of `samedge build`.
  std::optional<bool> proven(const Bundle &bundle, const LoadOptions &options) const override {
    if (options.engines.empty()) return {};  // as in Python: only a folder that was named speaks
    const std::vector<EngineKey> keys = keys_of(bundle.manifest(), options.precision);
    return engines_passed(EngineStore::of_bundle(bundle, options), keys, options.precision);
  }

  std::vector<Precision> ready(const Bundle &bundle, const LoadOptions &options) const override {
    const EngineStore store = EngineStore::of_bundle(bundle, options);
    std::vector<std::string> reasons;
    std::vector<Precision> found = engines_ready(store, precisions(), [&](Precision precision) {
      std::vector<EngineKey> keys = keys_of(bundle.manifest(), precision);
      for (const EngineKey &key : keys)
        if (const auto unfit = store.unfit(key)) reasons.insert(reasons.end(), unfit->begin(), unfit->end());
      return keys;
    });
    if (found.empty())
      fail(SAMEDGE_ERROR_NOT_SUPPORTED,
           "no engine in %s fits %s on a CPU (openvino): %s; build it: samedge build BUNDLE --target openvino -o "
           "FOLDER",
           shown(options.engines).c_str(), bundle.name().c_str(), lies_there(store, reasons).c_str());
    return found;
  }

  std::shared_ptr<LoadedModel> load(const Bundle &bundle, const LoadOptions &options) const override {
    if (options.device != 0)
      fail(SAMEDGE_ERROR_NOT_SUPPORTED, "the openvino backend runs on the CPU, which is device 0; got %d",
           options.device);
    const Manifest &manifest = bundle.manifest();
    const auto entry = [&](Graph graph) -> const GraphEntry & {
      return *manifest.graph(name_of(graph), graph_key(manifest, *this, options.precision, graph));
    };
    const GraphEntry &encoder = entry(Graph::encoder), &decoder = entry(Graph::decoder);
    const Precision computes = rest_of(manifest, options.precision);
    const EngineStore store = EngineStore::of_bundle(bundle, options);
    FoundEngine found = store.find(openvino_key(manifest, *this, options.precision));
    std::vector<std::string> notes = found.reasons;
    ModelParts parts;
    if (found.engine.has_value()) {
      log(SAMEDGE_LOG_INFO, "openvino: the engine %s is used", shown(found.engine->name).c_str());
      parts = prepared_models(std::move(*found.engine), computes);
    } else if (!options.engines.empty()) {
      fail(SAMEDGE_ERROR_NOT_SUPPORTED,
           "no engine in %s fits %s in %s on a CPU (openvino): %s. Nothing was built in its "
           "place; samedge build BUNDLE --target openvino --precision %s -o FOLDER",
           shown(options.engines).c_str(), shown(bundle.name()).c_str(), name_of(options.precision),
           lies_there(store, found.reasons).c_str(), name_of(options.precision));
    } else {
      split_encoder(read_graph(bundle, Graph::encoder, encoder), parts);
      parts.decoder = read_graph(bundle, Graph::decoder, decoder);
      if (computes != Precision::fp32) halve_weights(parts.encoder, computes);
      notes.push_back(
          text("there is no engine of this bundle in %s for the CPU, so its plain graph is computed, "
               "which may be slower: make one with `samedge build BUNDLE --target openvino --precision %s`",
               name_of(options.precision), name_of(options.precision)));
    }
    release_memory();
    if (options.precision == Precision::int8)
      if (const auto reason = doubtful(Precision::int8))
        notes.push_back(*reason + ": run samedge_self_test on it");
    return std::make_shared<OpenVinoModel>(std::move(parts), computes, options, encoder.io, decoder.io,
                                           std::move(notes));
  }

 private:
  // What the engine for a precision has to fit; none where the bundle has no graphs for it.
  std::vector<EngineKey> keys_of(const Manifest &manifest, Precision precision) const {
    for (const Graph graph : {Graph::encoder, Graph::decoder}) {
      const auto keys = graphs(precision, graph);
      const auto has = [&](const std::string &key) { return manifest.graph(name_of(graph), key) != nullptr; };
      if (std::none_of(keys.begin(), keys.end(), has)) return {};
    }
    return {openvino_key(manifest, *this, precision)};
  }
};

}  // namespace

const Backend *openvino_backend() {
  static const OpenVinoBackend backend;
  return &backend;
}

}  // namespace samedge
