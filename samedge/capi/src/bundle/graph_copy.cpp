#include "bundle/graph_copy.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <vector>

#include "base/failure.hpp"

namespace samedge {

namespace {

std::string environment(const char *name) {
  const char *value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Where copies may go, best first.
std::vector<std::string> parents() {
  std::vector<std::string> found;
  const std::string temporary = environment("TMPDIR"), own = environment("SAMEDGE_CACHE"),
                    cache = environment("XDG_CACHE_HOME"), home = environment("HOME");
  if (!temporary.empty()) found.push_back(temporary);
  found.emplace_back("/tmp");
  if (!own.empty()) found.push_back(own);
  else if (!cache.empty()) found.push_back(cache);
  else if (!home.empty()) found.push_back(home + "/.cache");
  return found;
}

// Throws std::system_error, which says why.
void write_new(const std::string &path, const Bytes &bytes) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0) throw std::system_error(errno, std::generic_category());
  std::size_t at = 0;
  while (at < bytes.size) {
    const ssize_t count =
        ::write(file, bytes.data.get() + at, std::min<std::size_t>(bytes.size - at, 1U << 30U));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int why = count < 0 ? errno : ENOSPC;
      ::close(file);
      throw std::system_error(why, std::generic_category());
    }
    at += static_cast<std::size_t>(count);
  }
  if (::close(file) != 0) throw std::system_error(errno, std::generic_category());
}

}  // namespace

GraphCopy::GraphCopy(const GraphFiles &files) {
  std::string why = "there is no folder for it";
  for (const std::string &parent : parents()) {
    // The name and the lock are those of samedge.files.work_folder, whose sweep removes what a killed
    // process leaves.
    folder_ = parent + "/.samedge-work-XXXXXX";
    if (::mkdtemp(folder_.data()) == nullptr) {
      why = std::generic_category().message(errno);
      folder_.clear();
      continue;
    }
    lock_ = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock_ >= 0) ::flock(lock_, LOCK_EX | LOCK_NB);
    try {
      path_ = folder_ + "/" + files.name;
      write_new(path_, files.graph);
      if (files.weights_name.empty()) return;
      weights_ = folder_ + "/" + files.weights_name;
      write_new(weights_, files.weights);
      return;
    } catch (const std::system_error &error) {
      why = error.code().message();
      remove();
    } catch (...) {
      remove();
      throw;
    }
  }
  fail(SAMEDGE_ERROR_NOT_SUPPORTED,
       "no private copy of %s can be written, which the engine is compiled from (%zu "
       "MB, for seconds): %s; free some space, or set TMPDIR to a folder that has it",
       files.name.c_str(), (files.graph.size + files.weights.size) / 1000000, why.c_str());
}

GraphCopy::~GraphCopy() { remove(); }

void GraphCopy::remove() noexcept {
  if (!path_.empty()) ::unlink(path_.c_str());
  if (!weights_.empty()) ::unlink(weights_.c_str());
  if (!folder_.empty()) ::rmdir(folder_.c_str());
  if (lock_ >= 0) ::close(lock_);
  lock_ = -1;
  folder_.clear();
  path_.clear();
  weights_.clear();
}

}  // namespace samedge
