DROP TABLE cats;
DROP TABLE owners;
