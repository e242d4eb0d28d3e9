#include "bundle/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/failure.hpp"
#include "bundle/names.hpp"

namespace samedge {

Descriptor &Descriptor::operator=(Descriptor &&other) noexcept {
  if (this != &other) {
    if (number_ >= 0) ::close(number_);
    number_ = other.release();
  }
  return *this;
}

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

int Descriptor::release() noexcept {
  const int number = number_;
  number_ = -1;
  return number;
}

std::string said_by_system(int error) { return std::generic_category().message(error); }

Descriptor open_below(const Descriptor &folder, const std::string &file, const std::string &bundle,
                      std::uint64_t &size) {
  Descriptor reached;
  const std::vector<std::string> parts = parts_of(file);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const bool last = i + 1 == parts.size();
    const int from = reached.there() ? reached.get() : folder.get();
    // O_PATH opens nothing, so that not even a device notices.
    Descriptor found(::openat(from, parts[i].c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat info {};
    if (!found.there() || ::fstat(found.get(), &info) != 0) {
      if (errno == ENOENT || errno == ENOTDIR)
        fail(SAMEDGE_ERROR_BUNDLE, "%s: the file %s is missing; copy the bundle again, or export it again",
             bundle.c_str(), file.c_str());
      fail(SAMEDGE_ERROR_BUNDLE, "%s: %s cannot be read: %s; allow access to it, or copy the bundle again",
           bundle.c_str(), file.c_str(), said_by_system(errno).c_str());
    }
    if (last ? !S_ISREG(info.st_mode) : !S_ISDIR(info.st_mode))
      fail(SAMEDGE_ERROR_BUNDLE,
           "%s: %s is not a plain file (a link, a device or a folder); a bundle holds plain "
           "files only: replace it by a copy",
           bundle.c_str(), file.c_str());
    if (!last) {
      reached = std::move(found);
      continue;
    }
    const auto seen = info;
    reached = Descriptor(::openat(from, parts[i].c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!reached.there() || ::fstat(reached.get(), &info) != 0)
      fail(SAMEDGE_ERROR_BUNDLE, "%s: %s cannot be read: %s; allow access to it, or copy the bundle again",
           bundle.c_str(), file.c_str(), said_by_system(errno).c_str());
    if (!S_ISREG(info.st_mode) || info.st_ino != seen.st_ino || info.st_dev != seen.st_dev)
      fail(SAMEDGE_ERROR_BUNDLE, "%s: %s was exchanged while it was opened; open the bundle again",
           bundle.c_str(), file.c_str());
    size = static_cast<std::uint64_t>(info.st_size);
  }
  return reached;
}

Bytes bytes_of_size(std::size_t size) {
  Bytes bytes;
  bytes.data.reset(new std::uint8_t[std::max<std::size_t>(size, 1)]);  // make_unique would write zeros
  bytes.size = size;
  return bytes;
}

Bytes read_all(const Descriptor &file, std::size_t size, const std::string &name, const std::string &bundle) {
  Bytes bytes = bytes_of_size(size);
  std::size_t at = 0;
  for (;;) {
    std::uint8_t more = 0;  // a byte behind the end would say that the file grew
    std::uint8_t *target = at < size ? bytes.data.get() + at : &more;
    const std::size_t wanted = at < size ? std::min<std::size_t>(size - at, 1U << 30U) : 1;
    const ssize_t count = ::read(file.get(), target, wanted);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      fail(SAMEDGE_ERROR_BUNDLE, "%s: %s cannot be read: %s; copy the bundle again", bundle.c_str(),
           name.c_str(), said_by_system(errno).c_str());
    if ((count == 0) != (at == size))
      fail(SAMEDGE_ERROR_BUNDLE, "%s: %s changed its size while it was read; open the bundle again",
           bundle.c_str(), name.c_str());
    if (count == 0) return bytes;
    at += static_cast<std::size_t>(count);
  }
}

}  // namespace samedge
