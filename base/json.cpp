// Boost.JSON's definitions, once for the whole project (Debian's libboost-json-dev is not needed).
#include <boost/json/src.hpp>
