#include "bundle/bundle.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/failure.hpp"
#include "base/hash.hpp"
#include "bundle/files.hpp"
#include "bundle/folders.hpp"
#include "bundle/graph_check.hpp"
#include "bundle/limits.hpp"
#include "bundle/mistaken.hpp"
#include "bundle/names.hpp"

namespace samedge {

namespace {

// The last part of a path, without slashes at its end.
std::string last_part(const std::string &path) {
  const std::size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return path;
  const std::size_t slash = path.rfind('/', end);
  return path.substr(slash == std::string::npos ? 0 : slash + 1,
                     slash == std::string::npos ? end + 1 : end - slash);
}

// The end of a path, where it is long: that is where it is recognised.
std::string shown_path(const std::string &path) {
  constexpr std::size_t most = 120;
  return path.size() <= most ? shown(path) : "..." + shown(path.substr(path.size() - most));
}

std::shared_ptr<const Bundle> open_file(const std::string &path, const std::string &name) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat info {};
  char head[512];
  ssize_t count = -1;
  if (file.there() && ::fstat(file.get(), &info) == 0 && S_ISREG(info.st_mode))
    count = ::pread(file.get(), head, sizeof head, 0);
  if (count < 0)
    fail(SAMEDGE_ERROR_BUNDLE, "%s cannot be read: %s; allow access to it, or give another path",
         name.c_str(), said_by_system(errno).c_str());
  const std::string other =
      mistaken_for_a_bundle(path, std::string_view(head, static_cast<std::size_t>(count)),
                            static_cast<std::uint64_t>(info.st_size));
  if (!other.empty()) fail(SAMEDGE_ERROR_BUNDLE, "%s is not a bundle: %s", name.c_str(), other.c_str());
  return open_zip(path, name, std::move(file), static_cast<std::uint64_t>(info.st_size));
}

}  // namespace

Bundle::Bundle(std::string path, Manifest manifest)
    : path_(std::move(path)), name_(shown(last_part(path_))), manifest_(std::move(manifest)) {}

std::shared_ptr<const Bundle> Bundle::open(const std::string &path) {
  const std::string name = shown(last_part(path));
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR)
      fail(SAMEDGE_ERROR_BUNDLE,
           "there is no bundle at '%s'; make one with: samedge export CHECKPOINT -o "
           "NAME.samedge",
           shown_path(path).c_str());
    fail(SAMEDGE_ERROR_BUNDLE, "'%s' cannot be reached: %s; give another path, or allow access to it",
         shown_path(path).c_str(), said_by_system(errno).c_str());
  }
  if (S_ISDIR(info.st_mode)) return open_folder(path, name);
  if (S_ISREG(info.st_mode)) return open_file(path, name);
  fail(SAMEDGE_ERROR_BUNDLE,
       "'%s' is neither a folder nor a file (a pipe or a device, for example); give a bundle's "
       "folder or zip file",
       shown_path(path).c_str());
}

const FileEntry &Bundle::listed(const std::string &file) const {
  const auto found = manifest_.files.find(file);
  if (found == manifest_.files.end())
    fail(SAMEDGE_ERROR_BUNDLE, "%s: its manifest lists no file '%s'; export the bundle again", name_.c_str(),
         shown(file).c_str());
  return found->second;
}

void Bundle::check_hash(const std::string &file, const FileEntry &entry, const Bytes &bytes) const {
  if (sha256_hex(bytes.data.get(), bytes.size) != entry.sha256)
    fail(SAMEDGE_ERROR_BUNDLE,
         "%s: %s was changed or damaged since the bundle was exported (its SHA-256 is not the "
         "manifest's) and is not loaded; copy the bundle again, or export it again",
         name_.c_str(), file.c_str());
}

GraphFiles Bundle::read_graph(const GraphEntry &entry) const {
  GraphFiles files;
  files.name = entry.file.substr(entry.file.rfind('/') + 1);
  files.graph = read(entry.file);
  const std::string weights = entry.file + ".data";
  if (manifest_.files.count(weights) != 0) {
    files.weights_name = files.name + ".data";
    files.weights = read(weights);
  }
  check_graph(files, entry);
  return files;
}

std::vector<std::string> Bundle::self_tests() const {
  std::vector<std::string> found;  // sorted, as the map is
  for (const auto &file : manifest_.files)
    if (begins_with(file.first, kSelfTestFolder) && ends_with(file.first, kSelfTestEnding))
      found.push_back(file.first);
  return found;
}

}  // namespace samedge
