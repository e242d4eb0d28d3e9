// The bundle reader and the choice of backend and precision, for tests in
// Python (tests/capi/bundles.py).
//
// Each function gives a samedge_status, and its answer, or the message of its
// failure, by test_answer().
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "api/guard.hpp"
#include "bundle/graph_check.hpp"
#include "bundle/graph_copy.hpp"
#include "bundle/limits.hpp"
#include "bundle/manifest.hpp"
#include "bundle/printable.hpp"
#include "bundle/self_test_file.hpp"
#include "internals.hpp"
#include "runtime/choice.hpp"

namespace {

using nlohmann::json;
using samedge::Bundle;
using samedge::Precision;

thread_local std::string answer;

template <typename Work> std::int32_t answered(Work &&work) {
  answer.clear();
  try {
    answer = work();
    return SAMEDGE_OK;
  } catch (const samedge::Failure &failure) {
    answer = failure.message();
    return failure.status();
  } catch (const std::bad_alloc &) {
    answer = "out of memory";
    return SAMEDGE_ERROR_MEMORY;
  } catch (const std::exception &error) {
    answer = error.what();
    return SAMEDGE_ERROR_INTERNAL;
  }
}

json of_tensors(const std::vector<samedge::TensorSpec> &tensors) {
  json made = json::array();
  for (const samedge::TensorSpec &tensor : tensors) {
    json shape = json::array();
    for (const std::int64_t side : tensor.shape)
      shape.push_back(side);
    made.push_back({tensor.name, static_cast<int>(tensor.element), shape});
  }
  return made;
}

json of_family(const samedge::Family &family) {
  return {
      {"name", family.name},
      {"title", family.title},
      {"input_size", family.input_size},
      {"channels", family.channels},
      {"value_scale", family.value_scale},
      {"mean", family.mean},
      {"std", family.std},
      {"min_max", family.min_max},
      {"longest_side", family.longest_side},
      {"interpolation", static_cast<int>(family.interpolation)},
      {"via", family.via},
      {"takes", {family.takes_points, family.takes_boxes, family.takes_masks}},
      {"always_pad", family.always_pad},
      {"single_mask", family.single_mask},
      {"multi_masks", family.multi_masks},
      {"classes", family.classes},
      {"exclusive", family.exclusive},
      {"upscale_size", family.upscale_size},
      {"probability", family.probability},
      {"nearest", family.nearest},
      {"threshold", family.threshold},
      {"stride", family.stride},
      {"slices", family.slices},
      {"whole_volume", family.whole_volume},
      {"whole_boxes", family.whole_boxes},
      {"rounded", family.rounded()},
      {"padded", family.padded()}};
}

json of_manifest(const samedge::Manifest &manifest) {
  const samedge::Variant &variant = manifest.variant;
  json graphs = json::object(), files = json::object(), parity = json::array(),
       looks = json::object();
  for (const auto &graph : manifest.graphs)
    for (const auto &entry : graph.second)
      graphs[graph.first][entry.first] = {
          {"file", entry.second.file},
          {"sha256", entry.second.sha256},
          {"inputs", of_tensors(entry.second.io.inputs)},
          {"outputs", of_tensors(entry.second.io.outputs)}};
  for (const auto &file : manifest.files)
    files[file.first] = {file.second.sha256, file.second.bytes};
  for (const samedge::ParityRow &row : manifest.parity)
    parity.push_back({row.backend, row.precision, row.passed});
  for (const auto &look : manifest.looks)
    looks[look.first] = {look.second.first, look.second.second};
  return {{"title", manifest.title},
          {"family", of_family(manifest.family)},
          {"variant",
           {variant.vit, variant.input_size, variant.grid, variant.low_res,
            variant.channels, variant.prompt_dim}},
          {"graphs", graphs},
          {"files", files},
          {"questions", manifest.questions},
          {"parity", parity},
          {"calibration_source", manifest.calibration_source},
          {"looks", looks}};
}

template <typename T>
void append(std::string &blob, const std::vector<T> &values) {
  blob.append(reinterpret_cast<const char *>(values.data()),
              values.size() * sizeof(T));
}

// A backend that says what a test wants it to say.
class Toy final : public samedge::Backend {
public:
  explicit Toy(const json &said)
      : said_(said), name_(said.at("name").get<std::string>()) {}

  const char *name() const noexcept override { return name_.c_str(); }
  std::int32_t number() const noexcept override {
    return SAMEDGE_BACKEND_OPENVINO;
  }
  std::optional<std::string> unavailable() const override { return {}; }
  std::vector<Precision> precisions() const override {
    return listed("precisions");
  }
  std::vector<std::string> graphs(Precision precision,
                                  samedge::Graph graph) const override {
    const auto found = said_.at("graphs").find(samedge::name_of(precision));
    if (found == said_.at("graphs").end())
      return {};
    return found->at(samedge::name_of(graph)).get<std::vector<std::string>>();
  }
  bool slower_than_float32(Precision precision) const override {
    const std::vector<Precision> slow = listed("slower");
    return std::find(slow.begin(), slow.end(), precision) != slow.end();
  }
  std::optional<std::string> doubtful(Precision precision) const override {
    const auto found = said_.at("doubtful").find(samedge::name_of(precision));
    if (found == said_.at("doubtful").end())
      return {};
    return found->get<std::string>();
  }
  std::optional<bool>
  proven(const Bundle &, const samedge::LoadOptions &options) const override {
    const auto found =
        said_.at("proven").find(samedge::name_of(options.precision));
    if (found == said_.at("proven").end())
      return {};
    return found->get<bool>();
  }
  std::vector<Precision> ready(const Bundle &,
                               const samedge::LoadOptions &) const override {
    return listed("ready");
  }
  std::shared_ptr<samedge::LoadedModel>
  load(const Bundle &, const samedge::LoadOptions &) const override {
    return nullptr;
  }

private:
  std::vector<Precision> listed(const char *key) const {
    std::vector<Precision> found;
    for (const json &name : said_.at(key))
      for (const Precision precision :
           {Precision::fp32, Precision::bf16, Precision::fp16, Precision::int8})
        if (name == samedge::name_of(precision))
          found.push_back(precision);
    return found;
  }

  json said_;
  std::string name_;
};

class Imagined final : public Bundle {
public:
  explicit Imagined(samedge::Manifest manifest)
      : Bundle("imagined.samedge", std::move(manifest)) {}
  std::string engines_folder() const override { return {}; }
  samedge::Bytes read(const std::string &) const override { return {}; }
};

samedge::Bytes copied(const void *data, std::size_t size) {
  samedge::Bytes bytes;
  bytes.data.reset(new std::uint8_t[size + 1]);
  bytes.size = size;
  std::memcpy(bytes.data.get(), data, size);
  return bytes;
}

std::string_view viewed(const void *data, std::size_t size) {
  return {static_cast<const char *>(data), size};
}

} // namespace

SAMEDGE_INTERNAL const char *test_answer(std::size_t *size) {
  *size = answer.size();
  return answer.data();
}

SAMEDGE_INTERNAL std::int32_t test_manifest(const void *data,
                                            std::size_t size) {
  return answered([&] {
    return of_manifest(samedge::parse_manifest(viewed(data, size))).dump();
  });
}

// Opens a bundle and reads all its files, and all its graphs with their checks.
SAMEDGE_INTERNAL std::int32_t test_bundle(const char *path, bool graphs) {
  return answered([&] {
    const auto bundle = Bundle::open(path);
    for (const auto &file : bundle->manifest().files)
      bundle->read(file.first);
    for (const auto &graph : bundle->manifest().graphs)
      for (const auto &entry : graph.second)
        if (graphs)
          bundle->read_graph(entry.second);
    return json({{"name", bundle->name()},
                 {"engines", bundle->engines_folder()},
                 {"self_tests", bundle->self_tests()},
                 {"manifest", of_manifest(bundle->manifest())}})
        .dump();
  });
}

SAMEDGE_INTERNAL std::int32_t test_read(const char *path, const char *file) {
  return answered([&] {
    const samedge::Bytes bytes = Bundle::open(path)->read(file);
    return std::string(viewed(bytes.data.get(), bytes.size));
  });
}

// A handle of an open bundle, to read from it later; freed by test_forget.
// nullptr: see test_answer().
SAMEDGE_INTERNAL void *test_open(const char *path) {
  void *handle = nullptr;
  answered([&] {
    handle = new std::shared_ptr<const Bundle>(Bundle::open(path));
    return std::string();
  });
  return handle;
}

SAMEDGE_INTERNAL std::int32_t test_read_open(const void *handle,
                                             const char *file) {
  return answered([&] {
    const samedge::Bytes bytes =
        (*static_cast<const std::shared_ptr<const Bundle> *>(handle))
            ->read(file);
    return std::string(viewed(bytes.data.get(), bytes.size));
  });
}

SAMEDGE_INTERNAL void test_forget(const void *handle) {
  delete static_cast<const std::shared_ptr<const Bundle> *>(handle);
}

// A graph against its entry in a manifest; weights: nullptr where there is no file of them.
SAMEDGE_INTERNAL std::int32_t test_graph(const void *manifest, std::size_t manifest_size, const char *graph,
                                         const void *data, std::size_t size, const void *weights,
                                         std::size_t weights_size) {
  return answered([&] {
    const samedge::Manifest said = samedge::parse_manifest(viewed(manifest, manifest_size));
    const samedge::GraphEntry *entry = said.graph(graph, "fp32");
    samedge::GraphFiles files;
    files.name = entry->file;
    files.graph = copied(data, size);
    if (weights != nullptr) {
      files.weights_name = files.name + ".data";
      files.weights = copied(weights, weights_size);
    }
    samedge::check_graph(files, *entry);
    return std::string();
  });
}

// The names and sizes of the files of a GraphCopy, while it is there and afterwards.
SAMEDGE_INTERNAL std::int32_t test_graph_copy(const char *path, const char *graph) {
  return answered([&] {
    const auto bundle = Bundle::open(path);
    std::string folder;
    std::string said;
    {
      const samedge::GraphCopy copy(bundle->read_graph(*bundle->manifest().graph(graph, "fp32")));
      folder = copy.path().substr(0, copy.path().rfind('/'));
      for (const auto &file : std::filesystem::directory_iterator(folder))
        said += file.path().filename().string() + " " + std::to_string(file.file_size()) + "\n";
      if (std::filesystem::status(folder).permissions() != std::filesystem::perms::owner_all)
        return std::string("others may look into it");
    }
    return said + (std::filesystem::exists(folder) ? "it is still there" : "");
  });
}

// JSON of the sizes, a zero byte, and the arrays in the order of the struct.
SAMEDGE_INTERNAL std::int32_t test_self_test(const char *name, const void *data,
                                             std::size_t size) {
  return answered([&] {
    const samedge::SelfTestFrame test = samedge::parse_self_test(
        name, static_cast<const std::uint8_t *>(data), size);
    const json head = {{"name", test.name},
                       {"slices", test.slices},
                       {"height", test.height},
                       {"width", test.width},
                       {"channels", test.channels},
                       {"objects", test.objects},
                       {"points", test.points_per_object},
                       {"boxed", !test.boxes.empty()},
                       {"count", test.masks_count},
                       {"low_res", test.low_res},
                       {"multimask", test.multimask},
                       {"stack", test.stack}};
    std::string blob = head.dump() + '\0';
    append(blob, test.frame);
    append(blob, test.points);
    append(blob, test.labels);
    append(blob, test.boxes);
    append(blob, test.low_res_logits);
    append(blob, test.masks);
    append(blob, test.scores);
    return blob;
  });
}

// precision: SAMEDGE_FP32 and so on; toy: JSON, see `Toy`; engines: a folder
// was named.
SAMEDGE_INTERNAL std::int32_t test_precision(const void *manifest,
                                             std::size_t size, const char *toy,
                                             std::int32_t precision,
                                             bool engines) {
  return answered([&] {
    const Imagined bundle(samedge::parse_manifest(viewed(manifest, size)));
    const Toy backend(json::parse(toy));
    samedge::LoadOptions options;
    options.engines = engines ? "named" : "";
    const samedge::Choice choice =
        samedge::choose_precision(bundle, backend, precision, options);
    return std::string(samedge::name_of(choice.options.precision)) + "\n" +
           choice.why;
  });
}

SAMEDGE_INTERNAL std::int32_t test_physical_cores() {
  return samedge::physical_cores();
}

SAMEDGE_INTERNAL bool test_is_printable(std::uint32_t point) {
  return samedge::is_printable(point);
}

SAMEDGE_INTERNAL std::int32_t test_limits() {
  return answered([] {
    return json({{"MANIFEST_BYTES", samedge::kManifestBytes},
                 {"MANIFEST_VALUES", samedge::kManifestValues},
                 {"MANIFEST_DEPTH", samedge::kManifestDepth},
                 {"NETWORK_SIDE", samedge::kNetworkSide},
                 {"NETWORK_VALUES", samedge::kNetworkValues},
                 {"LOW_RES", samedge::kLowRes},
                 {"CHANNELS", samedge::kChannels},
                 {"NETWORK_MASKS", samedge::kNetworkMasks},
                 {"SELFTEST_BYTES", samedge::kSelfTestBytes},
                 {"BUNDLE_TIMES", samedge::kBundleTimes},
                 {"GRAPH_PARTS", samedge::kGraphParts},
                 {"GRAPH_NAME_BYTES", samedge::kGraphNameBytes},
                 {"GRAPH_AXES", samedge::kGraphAxes}})
        .dump();
  });
}
