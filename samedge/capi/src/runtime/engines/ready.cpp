#include "runtime/engines/ready.hpp"

#include <algorithm>

#include "base/failure.hpp"

namespace samedge {

std::optional<bool> engines_passed(const EngineStore &store, const std::vector<EngineKey> &keys,
                                   Precision precision) {
  bool all = true;
  for (const EngineKey &key : keys) {
    const auto passed = store.passed(key, name_of(precision));
    if (!passed.has_value()) return {};
    all = all && *passed;
  }
  if (keys.empty()) return {};
  return all;
}

std::optional<std::string> engines_unready(const EngineStore &store, const LoadOptions &options,
                                           const std::vector<Precision> &precisions, const KeysOf &keys_of,
                                           const std::string &remedy) {
  std::vector<std::string> reasons;
  bool any = false;
  for (const Precision precision : precisions) {
    const std::vector<EngineKey> keys = keys_of(precision);
    any = any || !keys.empty();
    const bool there = !keys.empty() && std::all_of(keys.begin(), keys.end(), [&](const EngineKey &key) {
      const auto unfit = store.unfit(key);
      if (unfit.has_value()) reasons.insert(reasons.end(), unfit->begin(), unfit->end());
      return !unfit.has_value();
    });
    if (!there) continue;
    if (!options.engines.empty() || precision == Precision::fp32 ||
        engines_passed(store, keys, precision).value_or(false))
      return {};
    reasons.push_back("the one in " + std::string(name_of(precision)) + " was not verified on such a GPU");
  }
  if (!any) return "the bundle has no graphs that engines could be made from";
  if (options.engines.empty())
    return "no engine of this bundle for this GPU that may be taken" +
           (reasons.empty() ? "" : " (" + joined(reasons, "; ") + ")") + "; build one: " + remedy;
  const std::string folder = shown(options.engines), listed = store.listed();
  if (reasons.empty()) reasons.push_back("it holds " + (listed.empty() ? "none" : listed));
  return "no engine in " + folder + " fits this bundle on this machine: " + joined(reasons, "; ") +
         "; build one: " + remedy + " -o " + folder;
}

std::vector<Precision> engines_ready(const EngineStore &store, const std::vector<Precision> &precisions,
                                     const KeysOf &keys_of) {
  std::vector<Precision> found;
  for (const Precision precision : precisions) {
    const std::vector<EngineKey> keys = keys_of(precision);
    const auto fits = [&](const EngineKey &key) { return !store.unfit(key).has_value(); };
    if (!keys.empty() && std::all_of(keys.begin(), keys.end(), fits)) found.push_back(precision);
  }
  return found;
}

void no_engine(const EngineStore &store, const LoadOptions &options, const std::string &which,
               const std::vector<std::string> &reasons, const std::string &remedy) {
  const std::string said = joined(reasons, "; ");
  if (options.engines.empty())
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "there is no engine of %s%s%s; build it: %s", which.c_str(),
         said.empty() ? "" : ": ", said.c_str(), remedy.c_str());
  const std::string listed = store.listed(), folder = shown(options.engines);
  const std::string found = !said.empty() ? said : "it holds " + (listed.empty() ? "none" : listed);
  fail(SAMEDGE_ERROR_NOT_SUPPORTED, "no engine in %s is one of %s: %s; build it: %s -o %s", folder.c_str(), which.c_str(),
       found.c_str(), remedy.c_str(), folder.c_str());
}

std::string joined(const std::vector<std::string> &words, const char *between) {
  std::string all;
  for (const std::string &word : words) all += (all.empty() ? "" : between) + word;
  return all;
}

}  // namespace samedge
