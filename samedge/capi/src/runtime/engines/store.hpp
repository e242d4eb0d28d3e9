// Compiled engines in their folders: samedge/runtime/engines/store.py, trust.py and mapped.py.
//
// An engine is code: whoever can write one decides what the next session computes. So it is loaded only
// from a place that no other user can write to, if its record is this user's own or one that they said
// to trust, if its SHA-256 is the one in the record, and if it fits what is here. What is hashed is what
// is used: the engine is read into memory once. Nothing is written, built or thrown away here; that is
// samedge's (`samedge build`, `samedge cache`).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bundle/bundle.hpp"
#include "runtime/backend.hpp"
#include "runtime/engines/record.hpp"

namespace samedge {

// What an engine has to fit.
struct EngineKey {
  std::string kind;    // of its record
  std::string stem;    // the name that it has if it was built for exactly this: it is tried first
  std::string prefix;  // of the names of those that may fit; `stem` for keys of one name
  // Why an engine with this record (of this kind) does not fit; nothing if it does.
  std::function<std::optional<std::string>(const EngineRecord &)> mismatch;
};

struct StoredEngine {
  std::string path;
  std::string name;  // of the file, for messages
  Bytes data;
  EngineRecord record;
};

struct FoundEngine {
  std::optional<StoredEngine> engine;
  std::vector<std::string> reasons;  // why those that lie there were not taken, in words for the user
};

class EngineStore {
 public:
  // folders: where to look, best first.
  explicit EngineStore(std::vector<std::string> folders);

  // Where NVIDIA's engines of a bundle are: in the folder that the user named, else in the bundle (if it
  // is a folder) and in the user's cache.
  static EngineStore of_bundle(const Bundle &bundle, const LoadOptions &options);
  // The user's cache of what belongs to no bundle: where the Python package keeps OpenVINO's.
  static EngineStore of_user();

  // The first engine that may be loaded, and its bytes. Throws Failure(MEMORY).
  FoundEngine find(const EngineKey &key) const;
  // As `find`, by the records alone: the reasons; nothing if there is one that fits.
  std::optional<std::vector<std::string>> unfit(const EngineKey &key) const;
  // What the parity gate said of the engine for `key` in a precision; nothing if that was not tried.
  std::optional<bool> passed(const EngineKey &key, std::string_view precision) const;
  // Names of all engines in these folders, sorted, for messages: at most eight, then "...".
  std::string listed() const;

 private:
  std::vector<std::string> folders_;
};

// `$SAMEDGE_CACHE/engines`, else `samedge/engines` in the user's cache folder (XDG); "" if there is none.
std::string engine_cache();

// Why a place must not be trusted with code: a link, another user's, writable by others; nothing if it
// may.
std::optional<std::string> untrusted(const std::string &path);

// Digests over the hashes in the manifest, as the keys have them: of a graph's file and its weights, of
// several graphs (name -> key of its entry), of the whole model. Throw Failure(BUNDLE): no such graph.
std::string graph_digest(const Manifest &manifest, const std::string &graph, const std::string &key);
std::string graphs_digest(const Manifest &manifest, const std::map<std::string, std::string> &keys);
std::string model_digest(const Manifest &manifest);

}  // namespace samedge
