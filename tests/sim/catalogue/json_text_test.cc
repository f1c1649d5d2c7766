// SPDX-License-Identifier: Apache-2.0
#include "sim/catalogue/json_text.h"

#include <string>

#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

std::string ErrorOf(std::string_view text) {
  return std::string(ParseJson(text, "a.json").status().message());
}

TEST(ParseJsonTest, NamesLineAndColumnOfTheFirstMistake) {
  EXPECT_EQ(ErrorOf(""), "a.json:1:1: this is not valid JSON");
  EXPECT_EQ(ErrorOf("nope"), "a.json:1:2: this is not valid JSON");
  EXPECT_EQ(ErrorOf("{\n  \"a\": 1,\n  b\n}"),
            "a.json:3:3: this is not valid JSON");
  EXPECT_EQ(ErrorOf("{\"a\": 1"), "a.json:1:8: this is not valid JSON");
  EXPECT_EQ(ErrorOf("{} {}"), "a.json:1:4: this is not valid JSON");
  EXPECT_EQ(ErrorOf("\"\xff\""), "a.json:1:2: this is not valid JSON");
}

TEST(ParseJsonTest, RefusesDeepNesting) {
  EXPECT_TRUE(ParseJson(std::string(64, '[') + std::string(64, ']'), "").ok());
  EXPECT_EQ(ErrorOf(std::string(1'000'000, '[') + std::string(1'000'000, ']')),
            "a.json: nested more than 64 levels deep");
}

TEST(JsonObjectReaderTest, TakesTheFirstKeyThatIsThere) {
  const auto object = *ParseJson(R"({"b": 2, "c": 3, "a": null})", "a.json");
  JsonObjectReader reader(object, "a.json");
  EXPECT_EQ(reader.Integer({"a", "b", "c"}, 10), 2);
  EXPECT_EQ(reader.IntegerOr({"a", "d"}, 10, 7), 7);
  EXPECT_EQ(reader.TextOr({"d"}, "none"), "none");
  EXPECT_TRUE(reader.FlagOr("d", true));
  EXPECT_TRUE(reader.status().ok());
}

TEST(JsonObjectReaderTest, KeepsTheFirstMistake) {
  const auto object = *ParseJson(R"({"x": "1", "t": 1, "f": 1})", "a.json");
  JsonObjectReader reader(object, "a.json");
  reader.Integer({"x"}, 10);
  reader.Text({"t"});
  reader.FlagOr("f", true);
  EXPECT_EQ(std::string(reader.status().message()),
            "a.json: 'x' must be an integer from 1 to 10");
}

TEST(JsonObjectReaderTest, RefusesIntegersThatAreOutOfRangeOrNotIntegers) {
  for (const char* value :
       {"0", "-1", "11", "18446744073709551615", "-9223372036854775808", "1.5",
        "2.0", "true", "[1]", "1e30"}) {
    const auto object =
        *ParseJson(std::string("{\"x\": ") + value + "}", "a.json");
    JsonObjectReader reader(object, "a.json");
    reader.Integer({"x"}, 10);
    EXPECT_FALSE(reader.status().ok()) << value;
  }
}

TEST(JsonObjectReaderTest, TakesNumbersInARange) {
  const auto object = *ParseJson(R"({"x": 1.5, "y": 2, "z": "3"})", "a.json");
  JsonObjectReader reader(object, "a.json");
  EXPECT_EQ(reader.Number("x", 0.0, 2.0), 1.5);
  EXPECT_EQ(reader.Number("y", 0.0, 2.0), 2.0);
  EXPECT_EQ(reader.NumberOr("none", 0.0, 2.0, 0.25), 0.25);
  EXPECT_TRUE(reader.status().ok());
  for (const char* key : {"x", "z", "none"}) {
    JsonObjectReader strict(object, "a.json");
    strict.Number(key, 1.6, 2.0);
    EXPECT_FALSE(strict.status().ok()) << key;
  }
}

TEST(JsonObjectReaderTest, RefusesKeysThatNothingWasAskedOf) {
  const auto object = *ParseJson(R"({"x": 1, "yy": 2, "z": null})", "a.json");
  JsonObjectReader reader(object, "a.json");
  reader.Integer({"x"}, 10);
  reader.Integer({"y"}, 10);
  reader.IntegerOr({"z"}, 10, 1);
  // It counts more than the key that is missing: it is that one, misspelt.
  reader.RefuseOtherKeys();
  EXPECT_EQ(std::string(reader.status().message()),
            "a.json: unknown key 'yy'; known here are x, y, z");
  JsonObjectReader complete(object, "a.json");
  for (const char* key : {"x", "yy", "z"}) complete.IntegerOr({key}, 10, 1);
  complete.RefuseOtherKeys();
  EXPECT_TRUE(complete.status().ok());
}

TEST(JsonObjectReaderTest, MissingKeysAndThingsThatAreNoObjectsAreMistakes) {
  const auto object = *ParseJson("{}", "a.json");
  JsonObjectReader integer(object, "a.json");
  integer.Integer({"x", "y"}, 10);
  EXPECT_EQ(std::string(integer.status().message()), "a.json: 'x' is missing");
  JsonObjectReader text(object, "a.json");
  text.Text({"x"});
  EXPECT_FALSE(text.status().ok());
  const auto array = *ParseJson("[1]", "a.json");
  const JsonObjectReader reader(array, "a.json");
  EXPECT_EQ(std::string(reader.status().message()),
            "a.json: a JSON object is needed here");
}

}  // namespace
}  // namespace pagedkv::sim
