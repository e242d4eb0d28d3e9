// The values that were used last: samedge/geometry/recent.py.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace samedge {

// At most `count` values, and as few as `bytes` bytes hold; the last one stays whatever it takes. A value
// that is found costs no memory. `Value` has bytes().
template <typename Key, typename Value>
class Recent {
 public:
  Recent(std::size_t count, std::size_t bytes) : count_(count), bytes_(bytes) {
    items_.reserve(count + 1);
  }

  template <typename Make>
  std::shared_ptr<Value> get(const Key &key, const Make &make) {
    for (std::size_t i = items_.size(); i-- > 0;) {
      if (!(items_[i].first == key)) continue;
      auto found = std::move(items_[i]);
      items_.erase(items_.begin() + static_cast<std::ptrdiff_t>(i));
      items_.push_back(std::move(found));
      return items_.back().second;
    }
    items_.emplace_back(key, make());
    while (items_.size() > count_ || (items_.size() > 1 && taken() > bytes_)) items_.erase(items_.begin());
    return items_.back().second;
  }

 private:
  std::size_t taken() const {
    std::size_t sum = 0;
    for (const auto &item : items_) sum += item.second->bytes();
    return sum;
  }

  std::size_t count_, bytes_;
  std::vector<std::pair<Key, std::shared_ptr<Value>>> items_;
};

}  // namespace samedge
