// TensorRT: NVIDIA GPUs and Jetsons. samedge/runtime/tensorrt/backend.py; nothing is built here: engines come
// from `samedge build`.
#include <algorithm>
#include <cstdio>

#include "base/failure.hpp"
#include "runtime/choice.hpp"
#include "runtime/engines/ready.hpp"
#include "runtime/tensorrt/model.hpp"

namespace samedge {

namespace {

constexpr const char *kAgain = "build one for it with `samedge build`";
constexpr std::int64_t kAmpere = 80;  // oldest compute capability of hardware compatible engines

std::string remedy(const Bundle &bundle, Precision precision) {
  return text("samedge build %s --target tensorrt --precision %s", shown(bundle.path()).c_str(), name_of(precision));
}

// Packages have a build number behind what the library says of itself.
bool same_version(const std::string &built, const std::string &here) {
  return built == here || built.compare(0, here.size() + 1, here + ".") == 0;
}

// Whether a version compatible engine of version `built` loads here.
bool is_older(const std::string &built, const TensorRtLibrary &here) {
  int major = 0, minor = 0;
  return std::sscanf(built.c_str(), "%4d.%4d", &major, &minor) == 2 && major == here.major && minor <= here.minor;
}

std::optional<std::string> other_gpu(const EngineRecord &record, const GpuInfo &gpu) {
  const std::int64_t built = record.number("compute_capability"), here = gpu.compute_capability;
  const bool anywhere = record.built_with("hardware_compatible") && here >= kAmpere;
  if (built != here && !anywhere)
    return text("it is for a GPU of sm_%lld, and this one has sm_%lld; %s", static_cast<long long>(built),
                static_cast<long long>(here), kAgain);
  const std::string *name = std::get_if<std::string>(&record.key.at("gpu"));  // TensorRT tunes for one model of GPU
  if (!anywhere && name != nullptr && *name != gpu.name)
    return "it was tuned on another GPU (" + shown(*name) + ") than this one (" + gpu.name + "); " + kAgain;
  return {};
}

// What the engine of a graph has to fit.
EngineKey key_for(const Bundle &bundle, const std::string &graph, const std::string &entry, const GpuInfo &gpu) {
  const TensorRtLibrary &library = TensorRtLibrary::get();
  EngineKey key;
  key.kind = "nvidia";
  key.prefix = graph + "." + entry + ".tensorrt-";
  key.stem = key.prefix + library.version + ".sm" + std::to_string(gpu.compute_capability);
  key.mismatch = [graph, entry, gpu, &library, digest = graph_digest(bundle.manifest(), graph, entry)](
                     const EngineRecord &record) -> std::optional<std::string> {
    const std::pair<const char *, std::string> parts[] = {
        {"graph", graph}, {"precision", entry}, {"backend", "tensorrt"}};
    for (const auto &[part, asked] : parts)
      if (record.text(part) != asked)
        return "its record says that it is " + shown(record.text(part)) + ", not " + asked + "; " + kAgain;
    if (record.text("graph_sha256") != digest)
      return "it was built from another model than this bundle's " + graph + "; " + kAgain;
    const std::string &version = record.text("version");
    if (!same_version(version, library.version) &&
        !(record.built_with("version_compatible") && is_older(version, library)))
      return "it was built by TensorRT " + shown(version) + ", and here is " + library.version + "; " + kAgain;
    return other_gpu(record, gpu);
  };
  return key;
}

class TensorRtBackend : public Backend {
 public:
  const char *name() const noexcept override { return "tensorrt"; }
  std::int32_t number() const noexcept override { return SAMEDGE_BACKEND_TENSORRT; }

  std::optional<std::string> unavailable() const override {
    if (auto reason = gpu_problem()) return reason;  // without a GPU it does not matter what is installed
    return TensorRtLibrary::missing();
  }

  // All that engines can be built for, in the order in which they are preferred.
  std::vector<Precision> precisions() const override { return {Precision::fp16, Precision::int8, Precision::fp32}; }

  std::optional<bool> proven(const Bundle &bundle, const LoadOptions &options) const override {
    const GpuInfo gpu = gpu_info(options.device);
    return engines_passed(EngineStore::of_bundle(bundle, options), keys_of(bundle, options.precision, gpu),
                          options.precision);
  }

  std::optional<std::string> unready(const Bundle &bundle, const LoadOptions &options) const override {
    const GpuInfo gpu = gpu_info(options.device);
    return engines_unready(EngineStore::of_bundle(bundle, options), options, precisions(),
                           [&](Precision precision) { return keys_of(bundle, precision, gpu); },
                           remedy(bundle, Precision::fp16));
  }

  std::vector<Precision> ready(const Bundle &bundle, const LoadOptions &options) const override {
    if (const auto reason = unready(bundle, options)) fail(SAMEDGE_ERROR_NOT_SUPPORTED, "%s", reason->c_str());
    const GpuInfo gpu = gpu_info(options.device);
    return engines_ready(EngineStore::of_bundle(bundle, options), precisions(),
                         [&](Precision precision) { return keys_of(bundle, precision, gpu); });
  }

  std::shared_ptr<LoadedModel> load(const Bundle &bundle, const LoadOptions &options) const override {
    auto device = std::make_shared<const Device>(options.device);
    const EngineStore store = EngineStore::of_bundle(bundle, options);
    TensorRtModel::Part parts[2];
    for (const Graph graph : {Graph::encoder, Graph::decoder}) {
      const std::string key = graph_key(bundle.manifest(), *this, options.precision, graph);
      const GraphEntry &entry = *bundle.manifest().graph(name_of(graph), key);
      static_cast<void>(bundle.read(entry.file));  // a changed bundle is an error in any case
      FoundEngine found = store.find(key_for(bundle, name_of(graph), key, device->info()));
      if (!found.engine.has_value())
        no_engine(store, options,
                  text("the %s of %s in %s on this machine (TensorRT %s, %s, sm_%d)", name_of(graph),
                       shown(bundle.name()).c_str(), name_of(options.precision),
                       TensorRtLibrary::get().version.c_str(), device->info().name.c_str(),
                       device->info().compute_capability),
                  found.reasons, remedy(bundle, options.precision));
      TensorRtModel::Part &part = parts[graph == Graph::encoder ? 0 : 1];
      part.data = std::move(found.engine->data);
      part.host_code = found.engine->record.built_with("version_compatible");
      part.io = entry.io;
      part.name = found.engine->name;
    }
    return std::make_shared<TensorRtModel>(std::move(device), std::move(parts[0]), std::move(parts[1]));
  }

 private:
  std::vector<EngineKey> keys_of(const Bundle &bundle, Precision precision, const GpuInfo &gpu) const {
    std::vector<EngineKey> keys;
    for (const Graph graph : {Graph::encoder, Graph::decoder}) {
      const std::vector<std::string> entries = graphs(precision, graph);
      if (entries.empty() || bundle.manifest().graph(name_of(graph), entries.front()) == nullptr) return {};
      keys.push_back(key_for(bundle, name_of(graph), entries.front(), gpu));
    }
    return keys;
  }
};

}  // namespace

const Backend *tensorrt_backend() {
  static const TensorRtBackend backend;
  return &backend;
}

}  // namespace samedge
