// A bundle that is a folder: samedge/bundle/reader.py.
//
// The folder stays open, so that another one which takes its name is not looked at. Whoever can write to it
// can change a file at any moment: nothing is mapped, what is used are the bytes that were read once and
// hashed.
#include <fcntl.h>

#include <cerrno>

#include "base/failure.hpp"
#include "bundle/files.hpp"
#include "bundle/folders.hpp"
#include "bundle/limits.hpp"
#include "bundle/names.hpp"

namespace samedge {

namespace {

class Folder : public Bundle {
 public:
  Folder(std::string path, Manifest manifest, Descriptor root)
      : Bundle(std::move(path), std::move(manifest)), root_(std::move(root)) {
    for (const auto &file : manifest_.files) check_size(file.first, file.second);
  }

  std::string engines_folder() const override {
    return path_ + (ends_with(path_, "/") ? "" : "/") + kEnginesFolder;
  }

  Bytes read(const std::string &file) const override {
    const FileEntry &entry = listed(file);
    const Descriptor open = check_size(file, entry);
    Bytes bytes = read_all(open, static_cast<std::size_t>(entry.bytes), file, name_);
    check_hash(file, entry, bytes);
    return bytes;
  }

 private:
  Descriptor check_size(const std::string &file, const FileEntry &entry) const {
    std::uint64_t size = 0;
    Descriptor open = open_below(root_, file, name_, size);
    if (size != entry.bytes)
      fail(SAMEDGE_ERROR_BUNDLE,
           "%s: %s has %llu bytes, the manifest says %llu; copy the bundle again, or export it "
           "again",
           name_.c_str(), file.c_str(), static_cast<unsigned long long>(size),
           static_cast<unsigned long long>(entry.bytes));
    return open;
  }

  Descriptor root_;
};

}  // namespace

std::shared_ptr<const Bundle> open_folder(const std::string &path, const std::string &name) {
  Descriptor root(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root.there())
    fail(SAMEDGE_ERROR_BUNDLE, "%s cannot be read: %s; allow access to it, or give another path",
         name.c_str(), said_by_system(errno).c_str());
  const Descriptor manifest_there(::openat(root.get(), kManifestFile, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!manifest_there.there() && errno == ENOENT)
    fail(SAMEDGE_ERROR_BUNDLE,
         "'%s' is a folder but no bundle: it has no %s; make a bundle with: samedge export "
         "CHECKPOINT -o NAME.samedge",
         name.c_str(), kManifestFile);
  std::uint64_t size = 0;
  const Descriptor file = open_below(root, kManifestFile, name, size);
  if (size > kManifestBytes)
    fail(SAMEDGE_ERROR_BUNDLE, "%s: %s is too large; export the bundle again", name.c_str(), kManifestFile);
  const Bytes bytes = read_all(file, static_cast<std::size_t>(size), kManifestFile, name);
  const std::string_view data(reinterpret_cast<const char *>(bytes.data.get()), bytes.size);
  return std::make_shared<Folder>(path, parse_manifest(data), std::move(root));
}

}  // namespace samedge
