#include "gwd/config/asn.hpp"

namespace gw::config {

std::string_view reserved_for_gateway(std::uint32_t asn) {
  if (asn == 0) return "reserved (RFC 7607)";
  if (asn == 23456) return "AS_TRANS (RFC 6793)";
  if (asn >= 64496 && asn <= 64511) return "reserved for documentation (RFC 5398)";
  if (asn >= 65535 && asn <= 65551) return "reserved by IANA (RFC 7300, RFC 5398)";
  if (asn == 4294967295U) return "reserved by IANA (RFC 7300)";
  if (asn == 8074 || asn == 8075 || asn == 12076) return "reserved by the cloud";
  return {};
}

std::string_view reserved_for_site(std::uint32_t asn) {
  // 65516 is free: VNet-to-VNet gateways are set to it.
  if (asn == 65515 || (asn >= 65517 && asn <= 65520)) return "reserved for cloud gateways";
  return reserved_for_gateway(asn);
}

}  // namespace gw::config
