// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/terminal.h"

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace pagedkv::sim {

Glyphs GlyphsOfStandardOutput() {
  if (isatty(STDOUT_FILENO) == 0) return Glyphs::kAscii;
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* locale = std::getenv(name);
    if (locale == nullptr || *locale == '\0') continue;
    const std::string upper = absl::AsciiStrToUpper(locale);
    return absl::StrContains(upper, "UTF-8") || absl::StrContains(upper, "UTF8")
               ? Glyphs::kUnicode
               : Glyphs::kAscii;
  }
  return Glyphs::kAscii;
}

}  // namespace pagedkv::sim
