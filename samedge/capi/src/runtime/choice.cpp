#include "runtime/choice.hpp"

#include <dirent.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <system_error>
#include <utility>

#include "base/failure.hpp"
#include "bundle/names.hpp"

namespace samedge {

namespace {

// All that samedge knows, fastest first: the order in which "auto" tries them.
constexpr std::array<Precision, 4> kFastestFirst = {Precision::int8, Precision::bf16, Precision::fp16,
                                                    Precision::fp32};
// What a calibration record calls the bundle's own frames.
constexpr char kSelfTest[] = "self-test";
constexpr char kNewRow[] =
    ", for it was exported where bf16 is not native (samedge export BUNDLE -o NEW here adds it)";
constexpr char kEngineEnding[] = ".engine";
constexpr char kBuild[] = "samedge build BUNDLE --target tensorrt -o FOLDER (or --target triton, openvino)";

struct Known {
  std::int32_t number;
  const char *name;
  const char *constant;
  const char *option;  // of CMake
  const Backend *(*get)();
};

// In the order in which "auto" tries them.
constexpr std::array<Known, 3> kBackends = {
    {{SAMEDGE_BACKEND_TENSORRT, "tensorrt", "SAMEDGE_BACKEND_TENSORRT", "SAMEDGE_TENSORRT", tensorrt_backend},
     {SAMEDGE_BACKEND_TRITON, "triton", "SAMEDGE_BACKEND_TRITON", "SAMEDGE_TRITON", triton_backend},
     {SAMEDGE_BACKEND_OPENVINO, "openvino", "SAMEDGE_BACKEND_OPENVINO", "SAMEDGE_OPENVINO",
      openvino_backend}}};

// Names and why each was refused, in the order of the table.
using Refused = std::vector<std::pair<std::string, std::string>>;

std::string joined(const std::vector<std::string> &words, const char *between) {
  std::string made;
  for (const std::string &word : words) made += (made.empty() ? "" : between) + word;
  return made;
}

std::string not_built(const Known &known) {
  return text("it is not in this build of libsamedge; build that with -D%s=ON (docs/embedding.md)",
              known.option);
}

std::string listed(const Refused &refused) {
  std::string made;
  for (const auto &one : refused) made += "\n  " + one.first + ": " + one.second;
  return made;
}

// What is wrong, without what to do about it: there is another that works.
std::string shortly(const Refused &refused) {
  std::vector<std::pair<std::string, std::string>> reasons;  // what is wrong -> names
  for (const auto &one : refused) {
    const std::size_t end = std::min(one.second.find("; "), one.second.find(". "));
    const std::string what = one.second.substr(0, end);
    const auto same =
        std::find_if(reasons.begin(), reasons.end(), [&](const auto &r) { return r.first == what; });
    if (same == reasons.end()) reasons.emplace_back(what, one.first);
    else same->second += ", " + one.first;
  }
  std::vector<std::string> made;
  made.reserve(reasons.size());
  for (const auto &reason : reasons) made.push_back(reason.second + ": " + reason.first);
  return joined(made, "; ");
}

struct Taken {
  const Backend *backend;
  std::string why;
};

Taken named_backend(const Bundle &bundle, std::int32_t number, const LoadOptions &options) {
  for (const Known &known : kBackends) {
    if (known.number != number) continue;
    const Backend *backend = known.get();
    if (backend == nullptr)
      fail(SAMEDGE_ERROR_NOT_SUPPORTED, "%s cannot be taken: %s, or take SAMEDGE_BACKEND_AUTO",
           known.constant, not_built(known).c_str());
    if (const std::optional<std::string> reason = backend->unavailable())
      fail(SAMEDGE_ERROR_NOT_SUPPORTED, "the backend '%s' does not run here: %s", known.name,
           reason->c_str());
    if (!options.engines.empty()) static_cast<void>(backend->ready(bundle, options));
    return {backend, "asked for"};
  }
  fail(SAMEDGE_ERROR_ARGUMENT,
       "backend is %d; expected SAMEDGE_BACKEND_AUTO, _TENSORRT, _TRITON or _OPENVINO", number);
}

// Why "auto" does not take a backend; nothing if it does.
std::optional<std::string> against(const Backend &backend, const Bundle &bundle, const LoadOptions &options) {
  if (std::optional<std::string> reason = backend.unavailable()) return reason;
  if (options.engines.empty()) return backend.unready(bundle, options);
  try {
    static_cast<void>(backend.ready(bundle, options));
    return {};
  } catch (const Failure &failure) {
    if (failure.status() != SAMEDGE_ERROR_NOT_SUPPORTED) throw;
    return failure.message();
  }
}

Taken choose_backend(const Bundle &bundle, std::int32_t number, const LoadOptions &options) {
  if (number != SAMEDGE_BACKEND_AUTO) return named_backend(bundle, number, options);
  const bool ready = !options.engines.empty();
  Refused refused;
  for (const Known &known : kBackends) {
    const Backend *backend = known.get();
    const std::optional<std::string> reason =
        backend == nullptr ? not_built(known) : against(*backend, bundle, options);
    if (!reason.has_value()) {
      if (ready) return {backend, "first backend that takes these engines"};
      std::string why = "first backend that works here";
      if (!refused.empty()) why += " (" + shortly(refused) + ")";
      return {backend, why};
    }
    refused.emplace_back(known.name, *reason);
  }
  if (ready)
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "no backend takes the engines in %s here:%s",
         shown(options.engines).c_str(), listed(refused).c_str());
  fail(SAMEDGE_ERROR_NOT_SUPPORTED, "no backend works on this machine:%s", listed(refused).c_str());
}

bool contains(const std::vector<Precision> &precisions, Precision precision) noexcept {
  return std::find(precisions.begin(), precisions.end(), precision) != precisions.end();
}

// Key of the graph that serves a precision; nullptr where the bundle has none.
const std::string *found_key(const Manifest &manifest, const std::vector<std::string> &wanted, Graph graph) {
  const auto there = manifest.graphs.find(name_of(graph));
  if (there == manifest.graphs.end()) return nullptr;
  for (const std::string &key : wanted) {
    const auto entry = there->second.find(key);
    if (entry != there->second.end()) return &entry->first;
  }
  return nullptr;
}

bool is_runnable(const Manifest &manifest, const Backend &backend, Precision precision) {
  return found_key(manifest, backend.graphs(precision, Graph::encoder), Graph::encoder) != nullptr &&
         found_key(manifest, backend.graphs(precision, Graph::decoder), Graph::decoder) != nullptr;
}

// Those of `precisions` that the bundle has graphs for.
std::vector<Precision> runnable(const Manifest &manifest, const Backend &backend,
                                const std::vector<Precision> &precisions) {
  std::vector<Precision> found;
  for (const Precision precision : precisions)
    if (is_runnable(manifest, backend, precision)) found.push_back(precision);
  return found;
}

std::string names_of(const std::vector<Precision> &precisions) {
  std::vector<std::string> names;
  names.reserve(precisions.size());
  for (const Precision precision : precisions) names.emplace_back(name_of(precision));
  return joined(names, ", ");
}

// Keys of a bundle's graphs in samedge's order, slowest first.
std::vector<std::string> keys_of(const Manifest &manifest, const std::string &graph,
                                 const std::string &extra) {
  std::vector<std::string> found;
  for (auto at = kFastestFirst.rbegin(); at != kFastestFirst.rend(); ++at)
    if (name_of(*at) == extra || manifest.graph(graph, name_of(*at)) != nullptr)
      found.emplace_back(name_of(*at));
  return found;
}

// Whether a precision passed the parity gate: when the bundle was exported, or when its engines were built.
std::optional<bool> proven(const Bundle &bundle, const Backend &backend, Precision precision,
                           LoadOptions options) {
  if (const std::optional<bool> passed = parity(bundle.manifest(), backend.name(), precision)) return passed;
  options.precision = precision;
  return backend.proven(bundle, options);
}

bool calibrated_with_own_frames(const Manifest &manifest) {
  return !manifest.calibration_source.empty() && manifest.calibration_source != kSelfTest;
}

struct Found {
  Precision precision;
  std::string why;
};

Found asked_for(const Bundle &bundle, const Backend &backend, Precision precision,
                const LoadOptions &options) {
  const std::vector<Precision> native = backend.precisions();
  if (!contains(native, precision)) {
    std::vector<Precision> usable;
    for (const Precision one : kFastestFirst)
      if (contains(native, one) && is_runnable(bundle.manifest(), backend, one)) usable.push_back(one);
    fail(SAMEDGE_ERROR_NOT_SUPPORTED,
         "the precision '%s' does not run here with the %s backend; use one of: auto%s%s", name_of(precision),
         backend.name(), usable.empty() ? "" : ", ", names_of(usable).c_str());
  }
  for (const Graph graph : {Graph::encoder, Graph::decoder})
    static_cast<void>(graph_key(bundle.manifest(), backend, precision, graph));
  const std::optional<bool> passed = proven(bundle, backend, precision, options);
  if (const std::optional<std::string> reason = backend.doubtful(precision))
    return {precision, "asked for, though " + *reason};
  if (passed.value_or(false) || precision == Precision::fp32) return {precision, "asked for"};
  if (!passed.has_value())
    return {precision, "asked for, but not in the bundle's parity table: run `samedge verify`"};
  return {precision, "asked for, though it did not pass the bundle's parity gate"};
}

// The fastest that is native, has graphs and is proven.
Found fastest(const Bundle &bundle, const Backend &backend, const LoadOptions &options) {
  const Manifest &manifest = bundle.manifest();
  std::vector<Precision> native = backend.precisions();
  std::vector<Precision> usable = runnable(manifest, backend, native);
  if (!options.engines.empty()) usable = native = backend.ready(bundle, options);
  std::vector<std::string> refused;
  for (const Precision precision : kFastestFirst) {
    const std::string name = name_of(precision);
    if (backend.slower_than_float32(precision)) continue;
    if (!contains(usable, precision)) {
      if (contains(native, precision)) refused.push_back("the bundle has no " + name + " graph");
      continue;
    }
    if (precision == Precision::int8 && !calibrated_with_own_frames(manifest)) {
      refused.emplace_back(
          "int8 was not calibrated with frames of your own: do so (samedge export BUNDLE -o NEW --precision "
          "int8 "
          "--calibration FRAMES), or ask for it by name");
      continue;
    }
    if (const std::optional<std::string> reason = backend.doubtful(precision)) {
      refused.push_back(name + " is left out: " + *reason);
      continue;
    }
    const std::optional<bool> passed = proven(bundle, backend, precision, options);
    if (passed.value_or(false)) {
      refused.insert(refused.begin(), "fastest that is native here and passed the bundle's parity gate");
      return {precision, joined(refused, "; ")};
    }
    if (precision == Precision::fp32) break;
    refused.push_back(passed.has_value()
                          ? name + " did not pass the bundle's parity gate"
                          : "the bundle's parity table has no " + name + " row for this backend" +
                                (precision == Precision::bf16 ? kNewRow : ""));
  }
  if (contains(usable, Precision::fp32))
    return {Precision::fp32, refused.empty() ? "no faster precision is native here" : joined(refused, "; ")};
  // A bundle of typed graphs without float32: say what there is instead of guessing.
  fail(SAMEDGE_ERROR_NOT_SUPPORTED,
       "no precision of the bundle is proven with the %s backend (%s); run `samedge "
       "verify`, then ask for one by name: %s",
       backend.name(), refused.empty() ? "it has no graph for it" : joined(refused, "; ").c_str(),
       usable.empty() ? "none" : names_of(usable).c_str());
}

// Throws Failure(ARGUMENT): it is no folder, or has no engine in it.
void check_engines(const std::string &folder) {
  DIR *open = ::opendir(folder.c_str());
  if (open == nullptr) {
    if (errno == ENOENT || errno == ENOTDIR)
      fail(SAMEDGE_ERROR_ARGUMENT, "there is no folder '%s' with engines; make it: %s", shown(folder).c_str(),
           kBuild);
    fail(SAMEDGE_ERROR_ARGUMENT, "the folder '%s' cannot be read: %s; allow access to it",
         shown(folder).c_str(), std::generic_category().message(errno).c_str());
  }
  bool found = false;
  while (const dirent *entry = ::readdir(open)) found = found || ends_with(entry->d_name, kEngineEnding);
  ::closedir(open);
  if (!found)
    fail(SAMEDGE_ERROR_ARGUMENT, "the folder '%s' holds no engine (*%s); make one: %s", shown(folder).c_str(),
         kEngineEnding, kBuild);
}

// Logical processors that this process may run on.
std::vector<int> usable_cpus() {
  for (int most = 1024; most <= (1 << 20); most *= 2) {
    cpu_set_t *set = CPU_ALLOC(most);
    if (set == nullptr) break;
    const std::size_t size = CPU_ALLOC_SIZE(most);
    CPU_ZERO_S(size, set);
    const bool known = ::sched_getaffinity(0, size, set) == 0;
    const bool too_small = !known && errno == EINVAL;
    std::vector<int> found;
    for (int cpu = 0; known && cpu < most; ++cpu)
      if (CPU_ISSET_S(static_cast<std::size_t>(cpu), size, set)) found.push_back(cpu);
    CPU_FREE(set);
    if (known) return found;
    if (!too_small) break;
  }
  return {0};
}

// The first line of a small file; nothing if it cannot be read.
std::optional<std::string> line_of(const std::string &path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return {};
  return line;
}

// `cores`, or fewer where the container's CPU quota (cgroup v2) is smaller.
int within_quota(int cores, const std::string &quota_file) {
  long long quota = 0, period = 0;
  if (const std::optional<std::string> line = line_of(quota_file)) {
    std::istringstream words(*line);
    std::string rest;
    if (words >> quota >> period && !(words >> rest) && quota > 0 && period > 0)
      cores = static_cast<int>(std::min<long long>(cores, (quota + period - 1) / period));
  }
  return std::max(1, cores);
}

}  // namespace

Choice choose_precision(const Bundle &bundle, const Backend &backend, std::int32_t precision,
                        LoadOptions options) {
  if (precision < SAMEDGE_PRECISION_AUTO || precision > SAMEDGE_INT8)
    fail(SAMEDGE_ERROR_ARGUMENT,
         "precision is %d; expected SAMEDGE_PRECISION_AUTO, SAMEDGE_FP32, _BF16, _FP16 or _INT8", precision);
  const Found found = precision == SAMEDGE_PRECISION_AUTO
                          ? fastest(bundle, backend, options)
                          : asked_for(bundle, backend, static_cast<Precision>(precision), options);
  Choice choice;
  choice.backend = &backend;
  choice.options = std::move(options);
  choice.options.precision = found.precision;
  choice.why = found.why;
  return choice;
}

Choice choose(const Bundle &bundle, std::int32_t backend, std::int32_t precision, LoadOptions options) {
  if (!options.engines.empty()) check_engines(options.engines);
  const Taken taken = choose_backend(bundle, backend, options);
  Choice choice = choose_precision(bundle, *taken.backend, precision, std::move(options));
  choice.why = std::string(taken.backend->name()) + ": " + taken.why + "; " +
               name_of(choice.options.precision) + ": " + choice.why;
  return choice;
}

std::string graph_key(const Manifest &manifest, const Backend &backend, Precision precision, Graph graph) {
  const std::vector<std::string> wanted = backend.graphs(precision, graph);
  if (wanted.empty()) {
    std::vector<Precision> others;
    for (const Precision other : kFastestFirst)
      if (!backend.graphs(other, graph).empty()) others.push_back(other);
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "the %s backend has no precision '%s'; use one of: %s", backend.name(),
         name_of(precision), names_of(others).c_str());
  }
  if (const std::string *key = found_key(manifest, wanted, graph)) return *key;
  std::vector<std::string> has;
  for (const Graph there : {Graph::encoder, Graph::decoder})
    for (const std::string &key : keys_of(manifest, name_of(there), ""))
      has.push_back(std::string(name_of(there)) + " " + key);
  fail(SAMEDGE_ERROR_NOT_SUPPORTED,
       "%s with the %s backend needs the bundle's %s %s graph, and it has only: %s; make "
       "a bundle that has it: samedge export BUNDLE -o NEW --precision %s",
       name_of(precision), backend.name(), wanted[0].c_str(), name_of(graph), joined(has, ", ").c_str(),
       joined(keys_of(manifest, "encoder", wanted[0]), ",").c_str());
}

std::optional<bool> parity(const Manifest &manifest, const std::string &backend, Precision precision) {
  for (const ParityRow &row : manifest.parity)
    if (row.backend == backend && row.precision == name_of(precision)) return row.passed;
  return {};
}

int physical_cores() {
  const std::vector<int> cpus = usable_cpus();
  const char *quota = "/sys/fs/cgroup/cpu.max";
  std::set<std::pair<std::string, std::string>> cores;
  for (const int cpu : cpus) {
    const std::string topology = text("/sys/devices/system/cpu/cpu%d/topology/", cpu);
    const std::optional<std::string> package = line_of(topology + "physical_package_id");
    const std::optional<std::string> core = line_of(topology + "core_id");
    if (!package.has_value() || !core.has_value())  // a container that hides it: every processor is a core
      return within_quota(static_cast<int>(cpus.size()), quota);
    cores.emplace(*package, *core);
  }
  return within_quota(static_cast<int>(cores.size()), quota);
}

}  // namespace samedge
