// Published vectors of combined modes, ciphers and HMACs, on each backend.
#include "tests/unit/ebpf/esp/crypto_support.hpp"

namespace gw::esp::test {
namespace {

// --- combined modes ----------------------------------------------------------------------------------

struct AeadVector {
  const char* source;
  const char* transform;
  SequenceMode mode;
  const char* key;  // and salt
  std::uint32_t spi;
  std::uint64_t sequence;
  const char* iv;
  const char* plain;
  const char* cipher;
  const char* icv;
};

const AeadVector kAeadVectors[] = {
    {"draft-mcgrew-gcm-test-01, 128 ESN", "AES_GCM_16-128", SequenceMode::kExtended,
     "4c80cdefbb5d10da906ac73c3613a6342e443b68", 0x00004321, 0x8765432100000000, "4956ed7e3b244cfe",
     "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000"
     "00000000045f736970045f756470037369700963796265726369747902646b00"
     "0021000101020201",
     "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34"
     "cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce"
     "61bc17d768fd9732",
     "459018148f6cbe722fd04796562dfdb4"},
    {"draft-mcgrew-gcm-test-01, 192", "AES_GCM_16-192", SequenceMode::k32Bit,
     "feffe9928665731c6d6a8f9467308308feffe9928665731ccafebabe", 0xa5f8, 0xa, "facedbaddecaf888",
     "45000028a4ad4000400678800a01038f0a010612802306b8cb712602dd6bb03e501016d075680001",
     "a5b1f8066029aea40e598b8122de02420938b3ab33f828e687b8858b5bfbdbd0315b27452144cc77",
     "95457b9652037f5318027b5b4cd7a636"},
    {"draft-mcgrew-gcm-test-01, 256", "AES_GCM_16-256", SequenceMode::k32Bit,
     "abbccddef00112233445566778899aababbccddef00112233445566778899aab11223344", 0x4a2cbfe3, 2, "0102030405060708",
     "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee0000000007002400020bf0000020405b40101040201020201",
     "ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99def842d8e",
     "b335f4eecfdbf831824b4c4915956c96"},
    {"RFC 7634 appendix A", "CHACHA20_POLY1305", SequenceMode::k32Bit,
     "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3", 0x01020304, 5, "1011121314151617",
     "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10"
     "0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223"
     "2425262728292a2b2c2d2e2f303132333435363701020204",
     "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6"
     "14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3"
     "cbec163fac469b502773f6fb94e664da9165b82829f641e0",
     "76aaa8266b7fb0f7b11b369907e1ad43"},
};

class CryptoVectors : public testing::TestWithParam<BackendChoice> {};

EspPacket packet_of(const AeadVector& v, const Transform& t) {
  EspPacket p(t, v.spi, v.sequence);
  p.set_iv(unhex(v.iv));
  p.set_text(unhex(v.plain));
  return p;
}

TEST_P(CryptoVectors, PublishedCombinedModes) {
  const auto crypto = backend(GetParam());
  for (const AeadVector& v : kAeadVectors) {
    SCOPED_TRACE(v.source);
    const Transform& t = *find_transform(v.transform);
    const auto key = key_for(*crypto, {&t, v.mode, unhex(v.key), {}});
    EspPacket p = packet_of(v, t);
    EXPECT_TRUE(p.encrypt(*crypto, *key));
    EXPECT_EQ(p.text(), unhex(v.cipher));
    EXPECT_EQ(p.icv(), unhex(v.icv));
    EXPECT_TRUE(p.decrypt(*crypto, *key));
    EXPECT_EQ(p.text(), unhex(v.plain));
  }
}

// NIST SP 800-38D 5.2.1.2: a shorter tag is the beginning of the full one.
TEST_P(CryptoVectors, ShorterIcvsAreTheBeginningOfThePublishedOne) {
  const auto crypto = backend(GetParam());
  for (const AeadVector& v : kAeadVectors) {
    const Transform& full = *find_transform(v.transform);
    if (full.cipher != Cipher::kAesGcm) continue;
    for (const std::size_t icv_bytes : {8U, 12U}) {
      SCOPED_TRACE(testing::Message() << v.source << ", ICV " << icv_bytes);
      const Transform* t = find_transform({.key_bytes = full.key_bytes, .icv_bytes = icv_bytes});
      ASSERT_NE(t, nullptr);
      const auto key = key_for(*crypto, {t, v.mode, unhex(v.key), {}});
      EspPacket p = packet_of(v, *t);
      EXPECT_TRUE(p.encrypt(*crypto, *key));
      EXPECT_EQ(p.text(), unhex(v.cipher));
      const Bytes want = unhex(v.icv);
      EXPECT_TRUE(std::ranges::equal(p.icv(), std::span(want).first(icv_bytes)));
      EXPECT_TRUE(p.decrypt(*crypto, *key));
    }
  }
}

// --- ciphers ------------------------------------------------------------------------------------------

struct CipherVector {
  const char* source;
  const char* transform;
  const char* key;
  const char* iv;
  const char* plain;
  const char* cipher;
};

constexpr const char* kSp80038aPlain =
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

const CipherVector kCipherVectors[] = {
    {"RFC 3602 case 1", "AES_CBC-128/HMAC_SHA1_96", "06a9214036b8a15b512e03d534120006",
     "3dafba429d9eb430b422da802c9fac41", "53696e676c6520626c6f636b206d7367", "e353779c1079aeb82708942dbe77181a"},
    {"RFC 3602 case 2", "AES_CBC-128/HMAC_SHA2_256_128", "c286696d887c9aa0611bbb3e2025a45a",
     "562e17996d093d28ddb3ba695a2e6f58", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
     "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1"},
    {"RFC 3602 case 5 (ESP)", "AES_CBC-128/HMAC_SHA2_512_256", "90d382b410eeba7ad938c46cec1a82bf",
     "e96e8c08ab465763fd098d45dd3ff893",
     "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
     "202122232425262728292a2b2c2d2e2f30313233343536370102030405060708090a0b0c0d0e0e01",
     "f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856a4699e523a55db08"
     "0b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874aa269add047ad2d5913ac19b7cfbad4a6"},
    {"SP 800-38A F.2.3", "AES_CBC-192/HMAC_SHA2_384_192", "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
     "000102030405060708090a0b0c0d0e0f", kSp80038aPlain,
     "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a"
     "571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd"},
    {"SP 800-38A F.2.5", "AES_CBC-256/HMAC_SHA2_256_128",
     "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "000102030405060708090a0b0c0d0e0f",
     kSp80038aPlain,
     "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"
     "39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"},
    {"libdes destest.c, cbc ede3", "3DES_CBC/HMAC_SHA1_96", "0123456789abcdeff1e0d3c2b5a49786fedcba9876543210",
     "fedcba9876543210", "37363534333231204e6f77206973207468652074696d6520666f722000000000",
     "3fe301c962ac01d02213763c1cbd4cdc799657c064ecf5d41c673812cfde9675"},
};

TEST_P(CryptoVectors, PublishedCiphers) {
  const auto crypto = backend(GetParam());
  for (const CipherVector& v : kCipherVectors) {
    SCOPED_TRACE(v.source);
    const Transform& t = *find_transform(v.transform);
    const auto key = key_for(*crypto, {&t, SequenceMode::k32Bit, unhex(v.key), repeated(t.integrity_key_bytes, 0x5a)});
    EspPacket p(t, 0x4321, 1);
    p.set_iv(unhex(v.iv));
    p.set_text(unhex(v.plain));
    EXPECT_TRUE(p.encrypt(*crypto, *key));
    EXPECT_EQ(p.text(), unhex(v.cipher));
    EXPECT_TRUE(p.decrypt(*crypto, *key));
    EXPECT_EQ(p.text(), unhex(v.plain));
  }
}

// --- HMAC ---------------------------------------------------------------------------------------------

struct HmacVector {
  const char* source;
  const char* transform;
  Bytes key;
  Bytes data;  // its first 8 bytes are the ESP header, the rest NULL-encrypted text
  const char* icv;
};

Bytes text_bytes(std::string_view text) { return {text.begin(), text.end()}; }

std::vector<HmacVector> hmac_vectors() {
  const Bytes hi = text_bytes("Hi There");
  const Bytes what = text_bytes("what do ya want for nothing?");
  const auto jefe = [](std::size_t times) {
    Bytes key;
    for (std::size_t i = 0; i < times; ++i) key.insert(key.end(), {'J', 'e', 'f', 'e'});
    return key;
  };
  return {
      {"RFC 2202 SHA-1 case 1", "NULL/HMAC_SHA1_96", repeated(20, 0x0b), hi, "b617318655057264e28bc0b6"},
      {"RFC 2202 SHA-1 case 3", "NULL/HMAC_SHA1_96", repeated(20, 0xaa), repeated(50, 0xdd),
       "125d7342b9ac11cd91a39af4"},
      {"RFC 2202 SHA-1 case 5", "NULL/HMAC_SHA1_96", repeated(20, 0x0c), text_bytes("Test With Truncation"),
       "4c1a03424b55e07fe7f27be1"},
      {"RFC 4868 AUTH256-1", "NULL/HMAC_SHA2_256_128", repeated(32, 0x0b), hi, "198a607eb44bfbc69903a0f1cf2bbdc5"},
      {"RFC 4868 AUTH256-2", "NULL/HMAC_SHA2_256_128", jefe(8), what, "167f928588c5cc2eef8e3093caa0e87c"},
      {"RFC 4868 AUTH384-1", "NULL/HMAC_SHA2_384_192", repeated(48, 0x0b), hi,
       "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973"},
      {"RFC 4868 AUTH384-2", "NULL/HMAC_SHA2_384_192", jefe(12), what,
       "2c7353974f1842fd66d53c452ca42122b28c0b594cfb184d"},
      {"RFC 4868 AUTH512-1", "NULL/HMAC_SHA2_512_256", repeated(64, 0x0b), hi,
       "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8"},
      {"RFC 4868 AUTH512-2", "NULL/HMAC_SHA2_512_256", jefe(16), what,
       "cb370917ae8a7ce28cfd1d8f4705d6141c173b2a9362c15df235dfb251b15454"},
  };
}

TEST_P(CryptoVectors, PublishedHmacs) {
  const auto crypto = backend(GetParam());
  for (const HmacVector& v : hmac_vectors()) {
    SCOPED_TRACE(v.source);
    const Transform& t = *find_transform(v.transform);
    const auto key = key_for(*crypto, {&t, SequenceMode::k32Bit, {}, v.key});
    EspPacket p(t, load_be<std::uint32_t>(v.data.data()), load_be<std::uint32_t>(v.data.data() + 4));
    p.set_text(Bytes(v.data.begin() + kEspHeaderBytes, v.data.end()));
    EXPECT_TRUE(p.encrypt(*crypto, *key));
    EXPECT_EQ(p.icv(), unhex(v.icv));
    EXPECT_TRUE(p.decrypt(*crypto, *key));
  }
}

// RFC 4303 2.2.1: the high half counts as if it stood behind the packet. So a packet with it there in the clear, 32-bit
// numbers, has the same ICV.
TEST_P(CryptoVectors, EsnHighHalfIsHashedBehindTheText) {
  const auto crypto = backend(GetParam());
  for (const char* name :
       {"NULL/HMAC_SHA1_96", "NULL/HMAC_SHA2_256_128", "NULL/HMAC_SHA2_384_192", "NULL/HMAC_SHA2_512_256"}) {
    SCOPED_TRACE(name);
    const Transform& t = *find_transform(name);
    const Bytes secret = repeated(t.integrity_key_bytes, 0x77);
    const auto extended = key_for(*crypto, {&t, SequenceMode::kExtended, {}, secret});
    const auto plain = key_for(*crypto, {&t, SequenceMode::k32Bit, {}, secret});
    EspPacket with_esn(t, 7, 0x1122334455667788);
    with_esn.set_text(repeated(52, 0x33));
    EspPacket in_the_clear(t, 7, 0x55667788);
    Bytes text = repeated(52, 0x33);
    text.insert(text.end(), {0x11, 0x22, 0x33, 0x44});
    in_the_clear.set_text(text);
    EXPECT_TRUE(with_esn.encrypt(*crypto, *extended));
    EXPECT_TRUE(in_the_clear.encrypt(*crypto, *plain));
    EXPECT_EQ(with_esn.icv(), in_the_clear.icv());
    EXPECT_EQ(with_esn.text(), repeated(52, 0x33));
  }
}

INSTANTIATE_TEST_SUITE_P(All, CryptoVectors, testing::ValuesIn(all_backends()), backend_name);

}  // namespace
}  // namespace gw::esp::test
