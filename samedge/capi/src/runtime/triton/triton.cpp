// samedge's own engine on NVIDIA GPUs from sm_80 on: it needs the driver and nothing else.
// samedge/runtime/triton/backend.py; nothing is compiled here: engines come from `samedge build`.
#include <algorithm>

#include "base/failure.hpp"
#include "runtime/choice.hpp"
#include "runtime/engines/ready.hpp"
#include "runtime/triton/model.hpp"

namespace samedge {

namespace {

constexpr const char *kAgain = "build one for it with `samedge build`";

std::string remedy(const Bundle &bundle, Precision precision, int capability) {
  return text("samedge build %s --target triton --sm %d --precision %s", shown(bundle.path()).c_str(), capability,
              name_of(precision));
}

class TritonBackend : public Backend {
 public:
  const char *name() const noexcept override { return "triton"; }
  std::int32_t number() const noexcept override { return SAMEDGE_BACKEND_TRITON; }

  std::optional<std::string> unavailable() const override {
    if (auto reason = gpu_problem()) return reason;
    try {
      return too_old(gpu_info(0));
    } catch (const Failure &failure) {
      return failure.message();
    }
  }

  // All that engines can be built for, in the order in which they are preferred.
  std::vector<Precision> precisions() const override {
    return {Precision::fp16, Precision::bf16, Precision::int8, Precision::fp32};
  }

  // Engines are made from the float32 graphs: what they compute in is the engine's, not the graph's.
  std::vector<std::string> graphs(Precision precision, Graph graph) const override {
    return {precision == Precision::int8 && graph == Graph::encoder ? "int8" : "fp32"};
  }

  std::optional<bool> proven(const Bundle &bundle, const LoadOptions &options) const override {
    const int capability = gpu_info(options.device).compute_capability;
    return engines_passed(EngineStore::of_bundle(bundle, options), keys_of(bundle, options.precision, capability),
                          options.precision);
  }

  std::optional<std::string> unready(const Bundle &bundle, const LoadOptions &options) const override {
    const int capability = gpu_info(options.device).compute_capability;
    return engines_unready(EngineStore::of_bundle(bundle, options), options, precisions(),
                           [&](Precision precision) { return keys_of(bundle, precision, capability); },
                           remedy(bundle, Precision::fp16, capability));
  }

  std::vector<Precision> ready(const Bundle &bundle, const LoadOptions &options) const override {
    if (const auto reason = unready(bundle, options)) fail(SAMEDGE_ERROR_NOT_SUPPORTED, "%s", reason->c_str());
    const int capability = gpu_info(options.device).compute_capability;
    return engines_ready(EngineStore::of_bundle(bundle, options), precisions(),
                         [&](Precision precision) { return keys_of(bundle, precision, capability); });
  }

  std::shared_ptr<LoadedModel> load(const Bundle &bundle, const LoadOptions &options) const override {
    auto device = std::make_shared<const Device>(options.device);
    const GpuInfo &gpu = device->info();
    if (const auto old = too_old(gpu)) fail(SAMEDGE_ERROR_NOT_SUPPORTED, "%s", old->c_str());
    const EngineStore store = EngineStore::of_bundle(bundle, options);
    FoundEngine found = store.find(key_for(bundle, options.precision, gpu.compute_capability));
    if (!found.engine.has_value())
      no_engine(store, options,
                text("%s in %s for this GPU (triton, %s, sm_%d)", shown(bundle.name()).c_str(),
                     name_of(options.precision), gpu.name.c_str(), gpu.compute_capability),
                found.reasons, remedy(bundle, options.precision, gpu.compute_capability));
    EngineFile file = parse_engine(std::move(found.engine->data), found.engine->name);
    GraphIO io[2];
    for (const Graph graph : {Graph::encoder, Graph::decoder}) {
      const GraphEntry &entry = entry_of(bundle, options.precision, graph);
      io[graph == Graph::encoder ? 0 : 1] = entry.io;
      // A changed bundle is an error in any case; the files that weights stand in are read anyway.
      if (file.plan.files.count(entry.file) == 0) static_cast<void>(bundle.read(entry.file));
    }
    return std::make_shared<TritonModel>(std::move(file), bundle, std::move(device), std::move(io[0]),
                                         std::move(io[1]));
  }

 private:
  const GraphEntry &entry_of(const Bundle &bundle, Precision precision, Graph graph) const {
    const std::string key = graph_key(bundle.manifest(), *this, precision, graph);
    return *bundle.manifest().graph(name_of(graph), key);
  }

  std::vector<EngineKey> keys_of(const Bundle &bundle, Precision precision, int capability) const {
    for (const Graph graph : {Graph::encoder, Graph::decoder})
      if (bundle.manifest().graph(name_of(graph), graphs(precision, graph).front()) == nullptr) return {};
    return {key_for(bundle, precision, capability)};
  }

  // What an engine has to fit.
  EngineKey key_for(const Bundle &bundle, Precision precision, int capability) const {
    std::map<std::string, std::string> keys;
    for (const Graph graph : {Graph::encoder, Graph::decoder})
      keys[name_of(graph)] = graph_key(bundle.manifest(), *this, precision, graph);
    const std::string digest = graphs_digest(bundle.manifest(), keys), wanted = name_of(precision);
    const std::string here = std::to_string(capability), prefix = "triton." + wanted + ".sm";
    EngineKey key;
    key.kind = "triton";
    key.stem = prefix + here;
    key.prefix = prefix;
    key.mismatch = [digest, wanted, here](const EngineRecord &record) -> std::optional<std::string> {
      if (record.text("precision") != wanted)
        return "its record says that it is " + shown(record.text("precision")) + ", not " + wanted + "; " + kAgain;
      if (record.text("graphs_sha256") != digest)
        return std::string("it was built from another model than this bundle's; ") + kAgain;
      if (record.number("format") != kEngineFormat)
        return text("it has format %lld, and this version of samedge reads format %u; %s",
                    static_cast<long long>(record.number("format")), kEngineFormat, kAgain);
      const std::vector<std::string> &there = record.texts("capabilities");
      if (std::find(there.begin(), there.end(), here) == there.end())
        return "it is for sm_" + shown(joined(there, ", sm_")) + ", and wanted is sm_" + here + "; " + kAgain;
      return {};
    };
    return key;
  }
};

}  // namespace

const Backend *triton_backend() {
  static const TritonBackend backend;
  return &backend;
}

}  // namespace samedge
