#include "runtime/openvino/engine_file.hpp"

#include <array>
#include <cstring>
#include <sstream>
#include <utility>
#include <vector>

#include "base/failure.hpp"
#include "runtime/choice.hpp"
#include "runtime/openvino/core.hpp"

namespace samedge {

namespace {

constexpr std::size_t kHeader = 64;
constexpr std::size_t kAlignment = 64;
constexpr std::uint32_t kParts = 3;
constexpr std::uint64_t kMostGraph = 16'000'000;  // ENGINE_PLAN_BYTES of samedge/files/limits.py
constexpr char kMagic[] = "samedge\x1b";
constexpr const char *kAgain = "build it again with `samedge build`";

// Numbers of the file are little-endian.
std::uint64_t number_at(const std::uint8_t *data, std::size_t at, std::size_t bytes) noexcept {
  std::uint64_t number = 0;
  for (std::size_t i = bytes; i-- > 0;) number = number << 8U | data[at + i];
  return number;
}

[[noreturn]] void refuse(const std::string &name, const std::string &why) {
  fail(SAMEDGE_ERROR_NOT_SUPPORTED, "the engine %s %s; %s", shown(name).c_str(), why.c_str(), kAgain);
}

// The numbers of "2026.4.1".
std::vector<int> version_numbers(const std::string &version) {
  std::vector<int> numbers;
  std::istringstream parts(version.substr(0, version.find('-')));
  for (std::string part; std::getline(parts, part, '.');)
    if (!part.empty() && part.size() < 9 && part.find_first_not_of("0123456789") == std::string::npos)
      numbers.push_back(std::stoi(part));
  return numbers;
}

// Memory of an engine file as OpenVINO's: whatever is made of it keeps the file.
class PartOfFile {
 public:
  PartOfFile(std::shared_ptr<const Bytes> file, std::size_t at) : file_(std::move(file)), at_(at) {}

  void *allocate(std::size_t, std::size_t) { return file_->data.get() + at_; }
  void deallocate(void *, std::size_t, std::size_t) noexcept {}
  bool is_equal(const PartOfFile &other) const { return file_ == other.file_ && at_ == other.at_; }

 private:
  std::shared_ptr<const Bytes> file_;
  std::size_t at_;
};

std::shared_ptr<ov::Model> model_of(const std::shared_ptr<const Bytes> &file, const EnginePart &part) {
  const std::string graph(reinterpret_cast<const char *>(file->data.get()) + part.graph, part.graph_size);
  ov::Tensor weights;
  if (part.weights_size != 0)
    weights = ov::Tensor(ov::element::u8, ov::Shape{part.weights_size}, PartOfFile(file, part.weights));
  return openvino_core().read_model(graph, weights);
}

}  // namespace

EngineParts parse_engine_file(const std::uint8_t *data, std::size_t size, const std::string &name) {
  constexpr std::size_t magic = sizeof kMagic - 1;
  if (size < magic || std::memcmp(data, kMagic, magic) != 0)
    refuse(name, "holds no graphs of OpenVINO's (it begins otherwise)");
  if (size < kHeader) refuse(name, text("is truncated: it has %zu bytes, its header %zu", size, kHeader));
  const std::uint64_t format = number_at(data, 8, 4), count = number_at(data, 12, 4);
  if (format != static_cast<std::uint64_t>(kOpenVinoFormat) || count != kParts)
    refuse(name, text("has format %u with %u parts; this version of samedge reads format %u with %u",
                      static_cast<unsigned>(format), static_cast<unsigned>(count),
                      static_cast<unsigned>(kOpenVinoFormat), kParts));
  std::array<std::size_t, 2 * kParts> starts{}, sizes{};
  std::size_t at = kHeader;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::uint64_t bytes = number_at(data, 16 + 8 * i, 8);
    // The file's own size bounds every piece, so that nothing below overflows.
    if (bytes > size - at) refuse(name, text("is truncated: it has %zu bytes, its header says more", size));
    if (i % 2 == 0 && bytes > kMostGraph) refuse(name, "has a graph that is larger than it should be");
    starts[i] = at;
    sizes[i] = static_cast<std::size_t>(bytes);
    const std::size_t padded = (sizes[i] + kAlignment - 1) / kAlignment * kAlignment;
    if (padded > size - at) refuse(name, text("is truncated: it has %zu bytes, its header says more", size));
    at += padded;
  }
  if (at != size)
    refuse(name, text("is longer than it says: it has %zu bytes, its header says %zu", size, at));
  const auto part = [&](std::size_t i) {
    return EnginePart{starts[2 * i], sizes[2 * i], starts[2 * i + 1], sizes[2 * i + 1]};
  };
  return {part(0), part(1), part(2)};
}

EngineKey openvino_key(const Manifest &manifest, const Backend &backend, Precision precision) {
  std::map<std::string, std::string> keys;
  for (const Graph graph : {Graph::encoder, Graph::decoder})
    keys[name_of(graph)] = graph_key(manifest, backend, precision, graph);
  EngineKey key;
  key.kind = "openvino_graphs";
  key.stem = key.prefix = std::string("openvino.") + name_of(precision);
  const char *const again = "build one for it with `samedge build`";
  key.mismatch = [=, asked = std::string(name_of(precision)), digest = graphs_digest(manifest, keys)](
                     const EngineRecord &record) -> std::optional<std::string> {
    if (record.text("precision") != asked)
      return text("its record says that it is %s, not %s; %s", shown(record.text("precision")).c_str(),
                  asked.c_str(), again);
    if (record.text("graphs_sha256") != digest)
      return text("it was built from another model than this bundle's; %s", again);
    if (record.number("format") != kOpenVinoFormat || record.number("rewrites") != kRewrites)
      return text("it was built by another version of samedge (format %lld.%lld, here %lld.%lld); %s",
                  static_cast<long long>(record.number("format")),
                  static_cast<long long>(record.number("rewrites")), static_cast<long long>(kOpenVinoFormat),
                  static_cast<long long>(kRewrites), again);
    if (version_numbers(record.text("openvino")) > version_numbers(openvino_version()))
      return text("it was written by OpenVINO %s, and here is %s, which is older; %s",
                  shown(record.text("openvino")).c_str(), openvino_version().c_str(), again);
    return {};
  };
  return key;
}

ModelParts prepared_models(StoredEngine engine, Precision computes) {
  const EngineParts where = parse_engine_file(engine.data.data.get(), engine.data.size, engine.name);
  const auto file = std::make_shared<const Bytes>(std::move(engine.data));
  try {
    ModelParts parts;
    parts.preprocess = model_of(file, where.preprocess);
    parts.encoder = model_of(file, where.encoder);
    parts.decoder = model_of(file, where.decoder);
    if (computes != Precision::fp32) {
      mark_decompression(parts.encoder);
      halve_weights(parts.encoder, computes);
    }
    return parts;
  } catch (const std::exception &error) {
    openvino_failed(error, SAMEDGE_ERROR_NOT_SUPPORTED,
                    text("reading the engine %s; %s", shown(engine.name).c_str(), kAgain).c_str());
  }
}

}  // namespace samedge
