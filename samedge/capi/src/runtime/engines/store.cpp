#include "runtime/engines/store.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/failure.hpp"
#include "base/hash.hpp"

namespace samedge {

namespace {

constexpr std::uint64_t kRecordBytes = 64'000'000;  // samedge/files/limits.py
constexpr std::size_t kListed = 8;                  // engines that a message names
const std::string kEnding = ".engine";
const char *const kScheme = "samedge graph 2";
const char *const kNotTrusted =
    "it was not built by this user on this machine, and an engine is code: build it here with `samedge build`, "
    "or, if you know where it comes from, say so with `samedge cache trust FOLDER`";

// An open file that is closed again.
class File {
 public:
  // Links are not followed, and a pipe in its place is not waited for.
  explicit File(const std::string &path)
      : handle_(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) {}
  ~File() {
    if (handle_ >= 0) ::close(handle_);
  }
  File(const File &) = delete;
  File &operator=(const File &) = delete;

  int handle() const noexcept { return handle_; }

 private:
  int handle_;
};

std::string ending_of(const std::string &path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

bool ends_with(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Reading stops where the file stops: it may be written to meanwhile, which its hash finds out.
Bytes read_all(int handle, std::size_t size) {
  Bytes bytes{std::unique_ptr<std::uint8_t[]>(new std::uint8_t[std::max<std::size_t>(size, 1)]), 0};
  while (bytes.size < size) {
    const ssize_t got = ::read(handle, bytes.data.get() + bytes.size, size - bytes.size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    bytes.size += static_cast<std::size_t>(got);
  }
  return bytes;
}

std::optional<std::string> untrusted_state(const struct stat &state, const std::string &path) {
  const std::string name = shown(path);
  if (S_ISLNK(state.st_mode)) return name + " is a link";
  if (state.st_uid != ::geteuid() && state.st_uid != 0)  // root can do anything anyway
    return name + " belongs to another user";
  if ((state.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return name + " is writable by other users (chmod go-w it)";
  return {};
}

// Why an engine is not taken: the end of a sentence about it.
[[noreturn]] void refuse(const std::string &why) {
  throw Failure(SAMEDGE_ERROR_NOT_SUPPORTED, why);
}


// A regular file of the user's own, which nobody else can write to, of at most `most` bytes.
Bytes read_private(const std::string &path, std::uint64_t most) {
  const File file(path);
  struct stat state {};
  if (file.handle() < 0 || ::fstat(file.handle(), &state) != 0)
    refuse(errno == ELOOP ? shown(path) + " is a link"
                          : shown(ending_of(path)) + " cannot be read (" + std::strerror(errno) + ")");
  if (!S_ISREG(state.st_mode)) refuse(shown(ending_of(path)) + " is no regular file");
  if (const auto why = untrusted_state(state, path)) refuse(*why);
  const auto size = static_cast<std::uint64_t>(state.st_size);
  if (size > most) refuse(shown(ending_of(path)) + " is larger than it should be");
  return read_all(file.handle(), static_cast<std::size_t>(size));
}

std::string home() {
  const char *set = std::getenv("HOME");
  if (set != nullptr && *set != 0) return set;
  struct passwd entry {};
  struct passwd *found = nullptr;
  std::vector<char> memory(1 << 14);
  if (::getpwuid_r(::geteuid(), &entry, memory.data(), memory.size(), &found) == 0 && found != nullptr)
    return found->pw_dir;
  return "";
}

std::string expanded(const std::string &path) {
  if (path != "~" && path.compare(0, 2, "~/") != 0) return path;
  const std::string own = home();
  return own.empty() ? "" : own + path.substr(1);
}

std::string absolute(const std::string &path) {
  if (!path.empty() && path[0] == '/') return path;
  const std::unique_ptr<char, decltype(&std::free)> here(::getcwd(nullptr, 0), &std::free);
  return here == nullptr ? path : std::string(here.get()) + "/" + path;
}

// Parts of a path without empty ones and "."; ".." stays, and then the path is in no folder.
std::vector<std::string> parts_of(const std::string &path) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  while (at <= path.size()) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string part = path.substr(at, end - at);
    if (!part.empty() && part != ".") parts.push_back(part);
    at = end + 1;
  }
  return parts;
}

// Whether an engine lies in the user's own cache, which nobody else can write to.
bool in_cache(const std::string &path) {
  const std::string cache = engine_cache();
  if (cache.empty()) return false;
  const std::vector<std::string> folder = parts_of(absolute(cache)), parts = parts_of(absolute(path));
  return parts.size() > folder.size() && std::equal(folder.begin(), folder.end(), parts.begin()) &&
         std::find(parts.begin(), parts.end(), "..") == parts.end();
}

// Whether samedge wrote exactly this record for this user, or the user named it (`samedge cache trust`).
bool is_trusted(const Bytes &record) {
  const std::string cache = engine_cache();
  const std::size_t slash = cache.rfind('/');
  if (slash == std::string::npos) return false;
  const std::string folder = cache.substr(0, slash) + "/trusted";
  return !untrusted(folder) && !untrusted(folder + "/" + sha256_hex(record.data.get(), record.size));
}

std::string record_path(const std::string &engine) {
  return engine.substr(0, engine.size() - kEnding.size()) + ".json";
}

// The record of an engine that fits and lies where it may be trusted.
EngineRecord trusted_record(const std::string &folder, const std::string &path, const EngineKey &key) {
  for (const std::string &place : {folder, path})
    if (const auto why = untrusted(place)) refuse(*why);
  const std::string beside = record_path(path);
  struct stat state {};
  if (::stat(beside.c_str(), &state) != 0)
    refuse("it has no record " + shown(ending_of(beside)) +
           " that says what it is for; build it with `samedge build`");
  const Bytes data = read_private(beside, kRecordBytes);
  EngineRecord record = parse_record({reinterpret_cast<const char *>(data.data.get()), data.size});
  if (record.kind != key.kind) refuse("its record belongs to another kind of engine");
  if (const auto why = key.mismatch(record)) refuse(*why);
  if (!in_cache(path) && !is_trusted(data)) refuse(kNotTrusted);
  return record;
}

StoredEngine opened(const std::string &folder, const std::string &path, const EngineKey &key) {
  EngineRecord record = trusted_record(folder, path, key);
  const char *const changed =
      "its SHA-256 is not the one in its record: it was changed or damaged; build it again with `samedge build`";
  Bytes data = read_private(path, UINT64_MAX);
  if (data.size != record.size || sha256_hex(data.data.get(), data.size) != record.sha256) refuse(changed);
  return {path, ending_of(path), std::move(data), std::move(record)};
}

// Names of the engines in a folder that may fit, the right name first. A folder that cannot be listed has
// none.
std::vector<std::string> candidates(const std::string &folder, const std::string &stem,
                                    const std::string &prefix) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR *)> open(::opendir(folder.c_str()), &::closedir);
  if (open == nullptr) return names;
  while (const struct dirent *entry = ::readdir(open.get())) {
    const std::string name = entry->d_name;
    if (name.compare(0, prefix.size(), prefix) == 0 && ends_with(name, kEnding) && name[0] != '.')
      names.push_back(name);
  }
  const std::string first = stem + kEnding;
  std::sort(names.begin(), names.end(), [&first](const std::string &a, const std::string &b) {
    return (a == first) != (b == first) ? a == first : a < b;
  });
  return names;
}

// Note that an engine of the cache was used now, so that it is not the first to make room. Its time of
// modification stays.
void mark_used(const std::string &path) {
  const struct timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  static_cast<void>(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW));
}

std::string not_used(const std::string &name, const Failure &failure) {
  return "the engine " + shown(name) + " is not used: " + failure.message();
}

}  // namespace

std::optional<std::string> untrusted(const std::string &path) {
  struct stat state {};
  if (::lstat(path.c_str(), &state) != 0) return shown(path) + " cannot be read (" + std::strerror(errno) + ")";
  return untrusted_state(state, path);
}

std::string engine_cache() {
  const char *chosen = std::getenv("SAMEDGE_CACHE");
  if (chosen != nullptr && *chosen != 0) {
    const std::string folder = expanded(chosen);
    return folder.empty() ? "" : folder + "/engines";
  }
  const char *shared = std::getenv("XDG_CACHE_HOME");
  const std::string base = expanded(shared != nullptr && *shared != 0 ? shared : "~/.cache");
  return base.empty() ? "" : base + "/samedge/engines";
}

EngineStore::EngineStore(std::vector<std::string> folders) : folders_(std::move(folders)) {
  for (std::string &folder : folders_)  // behind a slash a link would be followed, and not seen
    while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
}

EngineStore EngineStore::of_bundle(const Bundle &bundle, const LoadOptions &options) {
  if (!options.engines.empty()) return EngineStore({options.engines});
  std::vector<std::string> folders;
  if (std::string own = bundle.engines_folder(); !own.empty()) folders.push_back(std::move(own));
  if (const std::string cache = engine_cache(); !cache.empty())
    folders.push_back(cache + "/nvidia/" + model_digest(bundle.manifest()).substr(0, 16));
  return EngineStore(std::move(folders));
}

EngineStore EngineStore::of_user() {
  const std::string cache = engine_cache();
  return EngineStore(cache.empty() ? std::vector<std::string>{} : std::vector<std::string>{cache});
}

FoundEngine EngineStore::find(const EngineKey &key) const {
  FoundEngine found;
  for (const std::string &folder : folders_)
    for (const std::string &name : candidates(folder, key.stem, key.prefix)) {
      const std::string path = folder + "/" + name;
      try {
        found.engine = opened(folder, path, key);
        if (in_cache(path)) mark_used(path);
        return found;
      } catch (const Failure &failure) {
        found.reasons.push_back(not_used(name, failure));
      }
    }
  return found;
}

std::optional<std::vector<std::string>> EngineStore::unfit(const EngineKey &key) const {
  std::vector<std::string> reasons;
  for (const std::string &folder : folders_)
    for (const std::string &name : candidates(folder, key.stem, key.prefix)) {
      try {
        static_cast<void>(trusted_record(folder, folder + "/" + name, key));
        return {};
      } catch (const Failure &failure) {
        reasons.push_back(not_used(name, failure));
      }
    }
  return reasons;
}

std::optional<bool> EngineStore::passed(const EngineKey &key, std::string_view precision) const {
  for (const std::string &folder : folders_)
    for (const std::string &name : candidates(folder, key.stem, key.prefix)) {
      try {
        const auto said = trusted_record(folder, folder + "/" + name, key).passed(precision);
        if (said.has_value()) return said;
      } catch (const Failure &) {
        continue;  // `find` says why
      }
    }
  return {};
}

std::string EngineStore::listed() const {
  std::vector<std::string> all;
  for (const std::string &folder : folders_)
    for (const std::string &name : candidates(folder, "", "")) all.push_back(shown(name));
  std::string text;
  for (std::size_t i = 0; i < std::min(all.size(), kListed); ++i) text += (i == 0 ? "" : ", ") + all[i];
  return all.size() > kListed ? text + ", ..." : text;
}

std::string graph_digest(const Manifest &manifest, const std::string &graph, const std::string &key) {
  const GraphEntry *entry = manifest.graph(graph, key);
  if (entry == nullptr)
    fail(SAMEDGE_ERROR_BUNDLE, "the bundle holds no %s %s; export it with --precision %s", key.c_str(),
         graph.c_str(), key.c_str());
  std::string text = kScheme;
  for (const std::string &file : {entry->file, entry->file + ".data"}) {
    const auto listed = manifest.files.find(file);
    if (listed != manifest.files.end()) text += "\n" + listed->second.sha256;
  }
  return sha256_hex(text.data(), text.size());
}

std::string graphs_digest(const Manifest &manifest, const std::map<std::string, std::string> &keys) {
  std::string text;  // the map is in order, as the digests have to be
  for (const auto &[graph, key] : keys)
    text += (text.empty() ? "" : "\n") + graph + " " + graph_digest(manifest, graph, key);
  return sha256_hex(text.data(), text.size());
}

std::string model_digest(const Manifest &manifest) {
  std::vector<std::string> digests;
  for (const auto &[graph, entries] : manifest.graphs)
    for (const auto &entry : entries) digests.push_back(graph_digest(manifest, graph, entry.first));
  std::sort(digests.begin(), digests.end());
  std::string text;
  for (const std::string &digest : digests) text += digest;
  return sha256_hex(text.data(), text.size());
}

}  // namespace samedge
