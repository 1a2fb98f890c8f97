// How an enum's value is written in gateway.yaml: without its type's name, lower case, hyphens:
// INITIATE_DEFAULT of Initiate is "default", INITIATOR_ONLY is "initiator-only". Pure; any thread.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>

namespace gw::config {

std::string enum_word(const google::protobuf::EnumValueDescriptor& value);

}  // namespace gw::config
