// bgpd's BMP stream as RouteController keeps it: over a connection as bgpd's, with events handed in.
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "tests/unit/gwd/control/route_controller_fixture.hpp"

namespace gw::gwd {
namespace {

using boost::asio::ip::tcp;

class StreamTest : public RouteControllerTest {
 protected:
  void SetUp() override {
    RouteControllerTest::SetUp();
    ASSERT_TRUE(routes.listen(0));
    bgpd.connect({boost::asio::ip::address_v4::loopback(), routes.bmp_port()});
    bgpd.async_read_some(boost::asio::buffer(byte),
                         [this](const boost::system::error_code& error, std::size_t) { ended = bool(error); });
    run_for(100ms);
    ASSERT_FALSE(ended);
    // What was up before is not any more, on this connection.
    up("169.254.21.2");
    up("169.254.21.6");
  }
  void TearDown() override { routes.stop(); }
  void run_for(std::chrono::steady_clock::duration time) {
    io.restart();
    io.run_for(time);
  }
  bool is_opened_anew() {
    run_for(BmpStall::kSettle + 200ms);
    return ended;
  }

  tcp::socket bgpd{io};
  std::array<char, 1> byte{};
  bool ended = false;
};

TEST_F(StreamTest, ASessionThatWasNotKnownWhenItCameUpIsToldAgain) {
  up("169.254.21.10");
  announce("169.254.21.10", "10.33.0.0/16");
  EXPECT_FALSE(is_opened_anew()) << "nobody wants it";
  model.tunnels.push_back(bgp_tunnel("ce3/gw-a", 9, "169.254.21.10"));
  routes.set_model(model);
  EXPECT_TRUE(is_opened_anew());
}

TEST_F(StreamTest, ADocumentThatChangesNoSessionLeavesTheStreamAlone) {
  routes.set_model(model);
  model.tunnels.pop_back();
  routes.set_model(model);
  EXPECT_FALSE(is_opened_anew());
}

// bgpd has not seen that it was out: its session went on all the time.
TEST_F(StreamTest, ASessionThatIsTakenOutAndPutBackIsToldAgain) {
  announce("169.254.21.6", "10.22.0.0/16");
  const config::GatewayModel before = model;
  model.tunnels.pop_back();
  routes.set_model(model);
  routes.set_model(before);
  EXPECT_TRUE(is_opened_anew());
}

TEST_F(StreamTest, ASessionUnderANewNameIsToldAgain) {
  announce("169.254.21.6", "10.22.0.0/16");
  model.tunnels.back().name = "berlin/gw-a";
  routes.set_model(model);
  EXPECT_TRUE(is_opened_anew());
}

}  // namespace
}  // namespace gw::gwd
