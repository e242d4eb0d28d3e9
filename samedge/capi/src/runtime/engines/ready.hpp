// What backends of stored engines have in common: which precisions their engines serve.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runtime/backend.hpp"
#include "runtime/engines/store.hpp"

namespace samedge {

// The engines that a precision needs; none where the bundle has no graphs for it.
using KeysOf = std::function<std::vector<EngineKey>(Precision precision)>;

// Whether all engines of a precision passed the parity gate of `samedge build`; nothing if one was not tried.
std::optional<bool> engines_passed(const EngineStore &store, const std::vector<EngineKey> &keys,
                                   Precision precision);

// Why "auto" should leave the bundle to the next backend: no precision has engines here that fit and that, but
// for float32 and for engines that the user named, were verified. Nothing if one has. remedy: a command of
// samedge.
std::optional<std::string> engines_unready(const EngineStore &store, const LoadOptions &options,
                                           const std::vector<Precision> &precisions, const KeysOf &keys_of,
                                           const std::string &remedy);

// The precisions that have all their engines here: what Backend::ready gives.
std::vector<Precision> engines_ready(const EngineStore &store, const std::vector<Precision> &precisions,
                                     const KeysOf &keys_of);

// Throws Failure(NOT_SUPPORTED): there is no engine. which: "samus.samedge in fp16 for this GPU (..)";
// remedy: a command of samedge; reasons: why those that lie there were not taken.
[[noreturn]] void no_engine(const EngineStore &store, const LoadOptions &options, const std::string &which,
                            const std::vector<std::string> &reasons, const std::string &remedy);

std::string joined(const std::vector<std::string> &words, const char *between);

}  // namespace samedge
